"""The members of a tar as `tarfile` lists them."""

import io
import tarfile

import pytest

from training.data.sources.tar_members import BLOCK, members

NAMES = ["000.jpg", "a/b/001.json", "x" * 60 + "/" + "y" * 90 + ".txt", "z" * 300 + ".jpg", "é日.png", "._hidden"]


def pack(format: int, **fields) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        tar.addfile(as_folder(tarfile.TarInfo("a")))
        for number, name in enumerate(NAMES if format != tarfile.USTAR_FORMAT else NAMES[:3]):
            member = tarfile.TarInfo(name)
            member.size = number * 300
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(bytes([number]) * member.size))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "000.jpg"
        tar.addfile(link)
    return file.getvalue()


def as_folder(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.type = tarfile.DIRTYPE
    return member


def found(data: bytes, at: int = 0) -> list:
    return list(members(lambda start, end: data[start:end], at, len(data)))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("fields", [{}, {"mtime": 1.5, "uname": "ü" * 20}])
def test_every_kind_of_tar(format, fields):
    data = pack(format, **fields)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar if m.isfile()]
    listed = found(data)
    assert [(m.name, m.data, m.size) for m in listed] == expected and len(expected) >= 3
    # The members from any of them on are found by the place of its first header alone.
    assert all(found(data, member.start) == listed[number:] for number, member in enumerate(listed))


def test_tars_that_were_joined_are_read_to_the_end():
    data = pack(tarfile.GNU_FORMAT)
    assert [m.name for m in found(data + data)] == NAMES * 2


def test_large_sizes_are_read():
    member = tarfile.TarInfo("a.mp4")
    member.size = 9 << 33  # above 8 GiB: not octal
    header = member.tobuf(tarfile.GNU_FORMAT)
    assert found(header)[0].size == 9 << 33
    pax = member.tobuf(tarfile.PAX_FORMAT)
    assert found(pax)[0].size == 9 << 33


def test_damage_is_said_with_its_place():
    data = bytearray(pack(tarfile.GNU_FORMAT))
    second = found(bytes(data))[1].start
    data[second + 5] ^= 1
    with pytest.raises(ValueError, match=f"no header of a tar at byte {second}"):
        found(bytes(data))
    for content in (b"words " * BLOCK, b"words", pack(tarfile.GNU_FORMAT)[:300]):
        with pytest.raises(ValueError, match="at byte 0"):
            found(content)
