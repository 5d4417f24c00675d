"""The mix.yaml of a conversion: the parts to train on as sources, with their kinds; the others in comments."""

from __future__ import annotations

from pathlib import Path

import yaml

from training.data.converters.output import MEDIA
from training.data.converters.summary import PartCount, Summary

HEAD = """\
# Sources for training. Copy them into a mix.yaml of your own to train on several data sets at once.
"""
KEPT_OUT = "# Kept out of training, because they are the development and test sets of the corpus:\n"


def mix_text(summary: Summary) -> str:
    """The file. Paths are absolute, so that sources can be copied from it as they are."""
    used = [count for count in summary.parts if count.records]
    entries = [source(count, summary.out) for count in used if count.part.split == "train"]
    others = [f"# - {source(count, summary.out)['path']}\n" for count in used if count.part.split != "train"]
    text = yaml.safe_dump({"sources": entries}, sort_keys=False, allow_unicode=True, width=1000)
    return HEAD + text + (KEPT_OUT + "".join(others) if others else "")


def source(count: PartCount, out: Path) -> dict[str, str]:
    """A part as a source of mix.yaml."""
    if count.part.as_it_is is not None:
        return {"kind": count.kind, "path": str(count.part.as_it_is), "name": count.part.name}
    path = str(out / f"{count.part.name}.jsonl")
    if not count.has_media:
        return {"kind": count.kind, "path": path, "name": count.part.name}
    media = out / MEDIA if count.own_media else count.part.media
    return {"kind": count.kind, "path": path, "media": str(media), "name": count.part.name}
