"""Checkpoints: opened once, loaded into a model, written atomically."""

from parley.checkpoints.checkpoint import Checkpoint
from parley.checkpoints.loading import load_model
from parley.checkpoints.manifest import CheckpointError
from parley.checkpoints.writer import export, save_stage

__all__ = ["Checkpoint", "CheckpointError", "export", "load_model", "save_stage"]
