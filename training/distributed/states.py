"""The saved states of a stage, from which it continues: sharded, written beside the training, for any number of
processes.

Notable points:
- `torch.distributed.checkpoint` writes a folder for each state. Its `.metadata` is written last: a state without it was
  cut short and is never read.
- Tensors are copied to the CPU at once; a thread writes them while training goes on.
- The two newest whole states are kept.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from training.distributed.process_group import is_main_process
from training.run_folder import saved_states

KEPT = 2
# One process alone saves too; said by the writing thread, at each save.
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")


class SavedStates:
    """The states in the work folder of a stage.

    Raises `ValueError` where a state cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing: Future | None = None
        self._group: dist.ProcessGroup | None = None  # of the writing thread, so that it does not disturb the training

    def __enter__(self) -> SavedStates:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        """What was begun is written before the training ends, also if it ends in every process by a mistake of its
        data. If a process is gone, nobody waits for it."""
        if kind is None or issubclass(kind, ValueError):
            self.finish()

    def newest(self) -> Path | None:
        """The newest whole state."""
        return next(iter(saved_states(self.folder)), None)

    def save(self, step: int, tensors: dict[str, Tensor], wait: bool = False) -> None:
        """Begins to write the state of a step, once the one before is written. All processes must call it."""
        self.finish()
        if is_main_process():
            self._remove_old()
        if dist.is_initialized() and self._group is None:
            self._group = dist.new_group(backend="gloo")
        with self._told():
            self._writing = dcp.async_save(
                {name: tensor.detach() for name, tensor in tensors.items()},
                checkpoint_id=str(self.folder / f"step-{step:08}"), process_group=self._group,
                no_dist=not dist.is_initialized(),
            )  # fmt: skip
        if wait:
            self.finish()

    def load(self, path: Path, tensors: dict[str, Tensor]) -> None:
        """Reads a state into tensors of its names and shapes, sharded as these are."""
        dcp.load(tensors, checkpoint_id=str(path), no_dist=not dist.is_initialized())

    def shapes(self, path: Path) -> dict[str, torch.Size]:
        """The shapes of the tensors in a state."""
        return {
            name: each.size for name, each in dcp.FileSystemReader(path).read_metadata().state_dict_metadata.items()
        }

    def finish(self) -> None:
        """Waits until what was begun is written. Raises what went wrong in that."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            with self._told():
                writing.result()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Inside, what keeps a state from being written becomes one line."""
        try:
            yield
        except (CheckpointException, OSError) as error:
            found = next((each for each, _ in getattr(error, "failures", {}).values()), error)
            raise ValueError(
                f"a state could not be written to {self.folder}; is the disk full? ({found}) What was saved before "
                "is whole: --resume continues from there"
            ) from None

    def _remove_old(self) -> None:
        """Removes all but the newest whole states."""
        kept = saved_states(self.folder)[: KEPT - 1]
        for path in self.folder.glob("step-*"):
            if path not in kept:
                shutil.rmtree(path)
