"""Where the vision encoder's forward pass runs."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Backend(Protocol):
    """Used by the engine's thread. `alive`: whether it can compute; read by any thread."""

    alive: bool

    def run(self, pixels: Tensor) -> Tensor:
        """Tiles [n, 3, side, side] → embeddings [n, length, width] on the CPU."""

    def shut_down(self) -> None:
        """After the last step; not called on an event loop."""
