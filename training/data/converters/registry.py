"""The data set layouts that `parley data convert` knows. Nothing is imported until a layout is used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.data.converters.part import Part


@dataclass(frozen=True)
class Layout:
    """How a data set is published."""

    name: str
    about: str  # one line of help
    function: str  # "module:function" of this package: (folder) -> list of Part

    def parts(self, source: Path) -> list[Part]:
        """What is in the folder `source`. Raises `ValueError`, with what it looked for, if it is not of this layout."""
        module, function = self.function.split(":")
        return getattr(importlib.import_module(f"training.data.converters.{module}"), function)(source)


ALL = (
    Layout("llava-150k", "llava_instruct_150k.json, with COCO in train2017/ or train2014/", "llava_150k:parts"),
    Layout("llava-onevision", "LLaVA-OneVision-Data or LLaVA-ReCap: SUBSET/*.parquet", "llava_onevision:parts"),
    Layout("scienceqa", "problems.json, pid_splits.json and images/; or data/train-*.parquet", "scienceqa:parts"),
    Layout("librispeech", "train-clean-100/SPEAKER/CHAPTER/*.flac with *.trans.txt", "librispeech:parts"),
    Layout("aishell-1", "wav/train/S0002/*.wav with transcript/aishell_transcript_v0.8.txt", "aishell1:parts"),
    Layout("libritts", "train-clean-100/SPEAKER/CHAPTER/*.wav with *.normalized.txt", "libritts:parts"),
    Layout("libritts-original", "the same, with the text as printed (*.original.txt)", "libritts:original_parts"),
)
LAYOUTS = {layout.name: layout for layout in ALL}


def find_layout(name: str) -> Layout:
    """The layout of that name. Raises `ValueError`, which lists the known ones, if there is none."""
    if name not in LAYOUTS:
        raise ValueError(f"no layout {name!r}; there are:\n{listed()}")
    return LAYOUTS[name]


def listed() -> str:
    """A line for each layout."""
    return "\n".join(f"  {layout.name:18} {layout.about}" for layout in ALL)
