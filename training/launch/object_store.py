"""A run in an object store, through fsspec: stages are fetched before a pod trains, and what it makes is uploaded.

An object store renames nothing, so a stage's manifest is uploaded last: a folder without one is absent. So it is with
the metadata of a saved state, which is uploaded when it is whole.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec

from parley.checkpoints.manifest import MANIFEST
from training.recipe import STAGES
from training.run_folder import METADATA, is_done, saved_states, work_folder

LAST = (MANIFEST, METADATA)  # files that say that a folder is whole
POLL_SECONDS = 10.0  # between two looks whether a state was saved
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
            if not self.has(stage):
                self._download(f"work/{stage}")
        except OSError as error:
            raise ValueError(f"{self._url} cannot be read: {error}") from None

    def has(self, stage: str) -> bool:
        """Whether a stage was uploaded whole."""
        return self._files.exists(f"{self._root}/{stage}/{MANIFEST}")

    def _download(self, folder: str) -> None:
        """What says that a folder is whole comes last: a download that was cut short is none."""
        paths = sorted(self._files.find(f"{self._root}/{folder}"), key=lambda path: path.endswith(LAST))
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
        """Where a stage is: its newest saved state, and what belongs to all of them. Removes older states there."""
        folder = work_folder(self._run, stage)
        newest = saved_states(folder)[:1]
        files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".part"]
        files += [path for state in newest for path in state.iterdir()]
        for path in sorted(files, key=lambda path: path.name in LAST):
            self._put(path)
        self._remove_states(stage, kept=[state.name for state in newest])

    def _remove_states(self, stage: str, kept: list[str]) -> None:
        work = f"{self._root}/work/{stage}"
        found = {path[len(work) :].split("/")[1] for path in self._files.find(work) if "/step-" in path[len(work) :]}
        for name in found - set(kept):
            self._files.rm(f"{work}/{name}", recursive=True)

    def _put(self, path: Path) -> None:
        self._files.put_file(str(path), f"{self._root}/{path.relative_to(self._run)}")

    @contextlib.contextmanager
    def mirrored(self, stage: str) -> Iterator[None]:
        """Inside, what is saved is uploaded; at the end the stage, or where it was stopped."""
        folder, ended = work_folder(self._run, stage), threading.Event()
        uploaded = saved_states(folder)[:1]

        def upload_if_saved() -> None:
            nonlocal uploaded
            newest = saved_states(folder)[:1]
            with contextlib.suppress(FileNotFoundError):  # the stage has ended meanwhile
                if newest != uploaded:
                    self.upload_work(stage)
                    uploaded = newest

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
