"""The media of a record: what it names, and where that is.

A file is named by its path, by a `file:` URL, by a base64 `data:` URL, or as `datasets` embeds it: bytes, or
{"bytes", "path"}. Nothing is read from the network.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from hashlib import blake2b
from os.path import isfile  # False where `Path.is_file` raises: a name that is too long
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from training.data.record_error import RecordError

KINDS = ("image", "audio", "video")
FIELDS = {"image": "image", "images": "image", "audio": "audio", "audios": "audio", "video": "video", "videos": "video"}
MARKERS = {"<image>": "image", "<audio>": "audio", "<video>": "video"}
MARKER_PATTERN = re.compile("|".join(MARKERS))
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(data|file):")
KEY_BYTES = 4096  # at each end of embedded content, for its key


def media_of(record: dict) -> dict[str, list]:
    """What a record names, as written: kind → files. Raises `RecordError` for what is no file."""
    files: dict[str, list] = {kind: [] for kind in KINDS}
    for name in sorted(FIELDS.keys() & record.keys()):
        value = record[name]
        value = [] if value is None else value if isinstance(value, list) else [value]
        if not all(is_file(item) for item in value):
            raise RecordError(
                "bad media field", f'"{name}" must be a path or a list of paths, not {str(record[name])[:200]!r}'
            )
        files[FIELDS[name]] += value
    return files


def is_file(value: Any) -> bool:
    """Whether `value` can stand for a file: a path or URL, bytes, or {"bytes", "path"} with one of the two."""
    if isinstance(value, dict):
        content, path = value.get("bytes"), value.get("path")
        return isinstance(content, bytes | memoryview) if content else isinstance(path, str) and path != ""
    return isinstance(value, str | bytes | memoryview) and len(value) > 0


def media_part(kind: str, value: Any, folder: Path, need_files: bool = True) -> dict:
    """A file as a part of a message; a relative path is under `folder`.

    {"type": kind, kind: path}, or {"type": kind, kind: bytes, "name": where they are from}. Raises `RecordError` for a
    URL that is not local, and if `need_files` for a file that is missing.
    """
    name = ""
    if isinstance(value, dict):
        name = value.get("path") or ""
        value = value.get("bytes") or name
    if isinstance(value, str):
        value = local(kind, value, folder)
    if isinstance(value, bytes | memoryview):
        return {"type": kind, kind: bytes(value), "name": name or f"{kind} of {len(value)} bytes inside the record"}
    if need_files and not isfile(value):
        raise RecordError("missing file", f"{kind} file {str(value)[:300]} does not exist")
    return {"type": kind, kind: str(value)}


def local(kind: str, text: str, folder: Path) -> Path | bytes:
    """The path, or the content of a `data:` URL. Raises `RecordError` for any other URL than `file:` and `data:`."""
    scheme = SCHEME.match(text)
    match (scheme[1] or scheme[2]).lower() if scheme else "":
        case "":
            return folder / text
        case "file":
            return Path(unquote(urlsplit(text).path))
        case "data":
            return data_url(kind, text)
    raise RecordError(
        "remote file", f"{kind} {text[:200]} is not on this machine; download it and write its path instead"
    )


def data_url(kind: str, text: str) -> bytes:
    """The content of "data:TYPE;base64,CONTENT". Raises `RecordError` if it is not base64, or empty."""
    head, _, body = text.partition(",")
    try:
        content = base64.b64decode(body, validate=True) if head.endswith(";base64") else b""
    except binascii.Error:
        content = b""
    if not content:
        raise RecordError("bad data URL", f"{kind} {text[:60]!r} must be data:TYPE;base64,CONTENT")
    return content


def group_of(files: dict[str, list]) -> str:
    """The first picture, else the first video, of what `media_of` gives; "" where there is neither.

    A path is its own name, as written but for "file:", "." and "//", so that a moved folder stays the same; embedded
    content is named by `content_key`.
    """
    for value in [*files["image"], *files["video"]]:
        if isinstance(value, dict):
            value = value.get("bytes") or value["path"]
        if isinstance(value, str) and not value.startswith("data:"):
            return posixpath.normpath(unquote(urlsplit(value).path) if value.startswith("file:") else value)
        content = value.encode() if isinstance(value, str) else value
        return content_key(len(content), content[:KEY_BYTES], content[-KEY_BYTES:])
    return ""


def content_key(size: int, head: bytes, tail: bytes) -> str:
    """A name for content: hash of its size and of `KEY_BYTES` at either end, so that a large file is not read whole."""
    return blake2b(b"%d:" % size + head + tail, digest_size=16).hexdigest()
