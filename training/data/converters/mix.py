"""The mix.yaml of a conversion: the parts to train on as sources, with their kinds; the others in comments."""

from __future__ import annotations

import yaml

from training.data.converters.output import MEDIA
from training.data.converters.summary import PartCount, Summary

HEAD = """\
# Sources for training. Copy them into a mix.yaml of your own to train on several data sets at once.
"""
KEPT_OUT = "# Kept out of training, because they are the development and test sets of the corpus:\n"


def mix_text(summary: Summary) -> str:
    """The file. Paths are absolute and names begin with the layout, so sources can be copied from it as they are."""
    used = [count for count in summary.parts if count.records]
    entries = [source(count, summary) for count in used if count.part.split == "train"]
    others = [f"# - {source(count, summary)['path']}\n" for count in used if count.part.split != "train"]
    text = yaml.safe_dump({"sources": entries}, sort_keys=False, allow_unicode=True, width=1000)
    return HEAD + text + (KEPT_OUT + "".join(others) if others else "")


def source(count: PartCount, summary: Summary) -> dict[str, str]:
    """A part as a source of mix.yaml."""
    part, out = count.part, summary.out
    path = out / f"{part.name}.jsonl" if part.as_it_is is None else part.as_it_is
    fields = {"kind": count.kind, "path": str(path)}
    if part.as_it_is is None and count.has_media:
        fields["media"] = str(out / MEDIA if count.own_media else part.media)
    return fields | {"name": f"{summary.layout}-{part.name}"}
