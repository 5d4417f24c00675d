"""The data set layouts that `parley data convert` knows. Nothing is imported until a layout is chosen.

A layout is a function `(source folder) -> list of Part` in a file of this package. It raises `ValueError`, with what it
looked for, where the folder is not of its layout.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.data.converters.part import Part

# Name → "module:function", one line of help.
LAYOUTS = {
    "llava-150k": (
        "llava_150k:parts",
        "LLaVA-Instruct-150K: llava_instruct_150k.json, COCO's train2017/ or train2014/",
    ),
    "llava-onevision": ("llava_onevision:parts", "LLaVA-OneVision-Data, LLaVA-ReCap: Parquet, a folder a subset"),
    "scienceqa": ("scienceqa:parts", "ScienceQA: problems.json, pid_splits.json and images/; or its Parquet files"),
    "librispeech": ("librispeech:parts", "LibriSpeech: train-clean-100/SPEAKER/CHAPTER/*.flac, *.trans.txt"),
    "aishell-1": ("aishell1:parts", "AISHELL-1: wav/train/S0002/*.wav, transcript/aishell_transcript_v0.8.txt"),
    "libritts": ("libritts:parts", "LibriTTS, LibriTTS-R: train-clean-100/SPEAKER/CHAPTER/*.wav, *.normalized.txt"),
    "libritts-original": (
        "libritts:original_parts",
        "the same, with the text as printed (*.original.txt)",
    ),
}


def find_layout(name: str) -> Callable[[Path], list[Part]]:
    """The function of a layout. Raises `ValueError`, which lists the known ones, if there is none of that name."""
    if name not in LAYOUTS:
        known = "\n".join(f"  {known:18} {about}" for known, (_, about) in LAYOUTS.items())
        raise ValueError(f"no layout {name!r}; there are:\n{known}")
    module, function = LAYOUTS[name][0].split(":")
    return getattr(importlib.import_module(f"training.data.converters.{module}"), function)
