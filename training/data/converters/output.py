"""The folder that a conversion writes: made beside its place and renamed into it, so it is there whole or not."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import IO

from training.data.record_error import RecordError
from training.data.records import Bad

MEDIA = "media"  # folder of the media that are written
BAD = "bad.jsonl"


class OutputFolder:
    """Use as a `with` block: `finish` moves the folder into place; without it nothing is left.

    Raises `ValueError` if the place is taken, or if another conversion is writing to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.folder = self.path.parent / f".{self.path.name}.tmp"

    def __enter__(self) -> OutputFolder:
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ValueError(f"{self.path} is there already: name another folder, or remove it")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ValueError(f"another conversion is writing {self.path}; wait for it") from None
        self._clear()  # what a killed conversion left
        self.bad: IO[str] = (self.folder / BAD).open("w", encoding="utf-8")
        return self

    def __exit__(self, kind, error, *_) -> None:
        with contextlib.suppress(OSError):  # of a full disk: what is written is thrown away
            self.bad.close()
        if self.folder.exists():  # else `finish` has moved it away
            shutil.rmtree(self.folder)
        os.close(self._lock)
        if isinstance(error, OSError) and error.filename is None:  # a write: tell where
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def finish(self) -> None:
        self.bad.close()
        if not (self.folder / BAD).stat().st_size:
            (self.folder / BAD).unlink()
        if self.path.is_dir():
            self.path.rmdir()
        self.folder.rename(self.path)

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def lines(self, name: str) -> IO[str]:
        """The file of JSON lines of a part, open for writing."""
        return (self.folder / f"{name}.jsonl").open("w", encoding="utf-8")

    def reject(self, part: str, bad: Bad) -> None:
        """Adds a bad record to the list of them."""
        line = {"part": part, "where": bad.where, "id": bad.id, "reason": bad.reason, "detail": bad.detail}
        self.bad.write(json.dumps(line, ensure_ascii=False) + "\n")

    def place(self, files: Mapping[str, list], media: Path, content: Mapping[str, bytes]) -> None:
        """Writes media (kind → names) under their names: from `content`, or copied from the folder `media`.

        Raises `RecordError` for what is no path under that folder, which could be written anywhere.
        """
        for name in chain(*files.values()):
            if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
                raise RecordError("cannot be copied", f"only paths under {media} are copied: {str(name)[:200]!r}")
            file = self.folder / MEDIA / name
            if file.exists():  # several records have the same picture
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            if name in content:
                file.write_bytes(content[name])
            else:
                shutil.copyfile(media / name, file)
