"""The curves of a stage for TensorBoard."""

from __future__ import annotations

from pathlib import Path


class TensorBoard:
    """Writes metrics to a folder; TensorBoard is imported with the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.writer = folder, None

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_) -> None:
        if self.writer is not None:
            self.writer.close()

    def write(self, step: int, metrics: dict[str, float]) -> None:
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder))
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
