"""A run in an object store, through fsspec: stages are fetched before a pod trains, and what it makes is uploaded.

An object store renames nothing, so a stage's manifest is uploaded last: a folder without one is absent. The resume file
is uploaded each time it was saved.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec

from parley.checkpoints.manifest import MANIFEST
from training.recipe import STAGES
from training.resume_file import RESUME_FILE
from training.run_folder import is_done, work_folder

POLL_SECONDS = 10.0  # between two looks whether the resume file was saved
OBJECT_STORES = ("s3", "gs", "az")  # protocols of which obstore has the client; others are fsspec's own


class RunStore:
    """`url`: of the run's folder there, as s3://bucket/run. `run`: its folder here.

    Raises `ValueError` where the store cannot be read.
    """

    def __init__(self, url: str, run: Path):
        protocol = url.partition("://")[0]
        if protocol in OBJECT_STORES:
            from obstore.fsspec import register

            register(protocol)
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ValueError(f"{url} cannot be opened: {error}") from None
        self._url, self._run = url, run

    def fetch(self, stage: str) -> None:
        """Downloads all stages that are done, and where `stage` was stopped."""
        try:
            for each in STAGES:
                if self.has(each.name) and not is_done(self._run, each.name):
                    self._download(each.name)
            work = f"work/{stage}"
            if not self.has(stage) and self._files.exists(f"{self._root}/{work}/{RESUME_FILE}"):
                self._download(work)
        except OSError as error:
            raise ValueError(f"{self._url} cannot be read: {error}") from None

    def has(self, stage: str) -> bool:
        """Whether a stage was uploaded whole."""
        return self._files.exists(f"{self._root}/{stage}/{MANIFEST}")

    def _download(self, folder: str) -> None:
        """The manifest last: a download that was cut short is none."""
        paths = sorted(self._files.find(f"{self._root}/{folder}"), key=lambda path: path.endswith(MANIFEST))
        for path in paths:
            target = self._run / path[path.index(folder, len(self._root)) :]
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".part")
            self._files.get_file(path, str(partial))
            partial.replace(target)

    def upload(self, stage: str) -> None:
        """A stage that is done."""
        files = [path for path in sorted((self._run / stage).rglob("*")) if path.is_file()]
        for path in sorted(files, key=lambda path: path.name == MANIFEST):
            self._put(path)

    def upload_work(self, stage: str) -> None:
        """Where a stage is: the resume file last, which the others belong to."""
        folder = work_folder(self._run, stage)
        files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".part"]
        for path in sorted(files, key=lambda path: path.name == RESUME_FILE):
            self._put(path)

    def _put(self, path: Path) -> None:
        self._files.put_file(str(path), f"{self._root}/{path.relative_to(self._run)}")

    @contextlib.contextmanager
    def mirrored(self, stage: str) -> Iterator[None]:
        """Inside, what is saved is uploaded; at the end the stage, or where it was stopped."""
        resume, uploaded, ended = work_folder(self._run, stage) / RESUME_FILE, 0, threading.Event()
        if resume.exists():
            uploaded = resume.stat().st_mtime_ns

        def upload_if_saved() -> None:
            nonlocal uploaded
            with contextlib.suppress(FileNotFoundError):  # the stage has ended meanwhile
                saved = resume.stat().st_mtime_ns
                if saved != uploaded:
                    self.upload_work(stage)
                    uploaded = saved

        def watch() -> None:
            while not ended.wait(POLL_SECONDS):
                upload_if_saved()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if is_done(self._run, stage):
                self.upload(stage)
            else:
                upload_if_saved()
