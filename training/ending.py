"""Why a stage ends before its last step."""

from __future__ import annotations


class StageInterruptionError(Exception):
    """The stage was asked to stop; its state is saved and `--resume` continues it."""


class SampleError(ValueError):
    """This process has a sample that cannot be learned from."""


class OtherProcessError(ValueError):
    """Another process of the stage cannot go on, and says why."""
