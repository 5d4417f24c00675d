"""The fonts that words in pictures are written in: Pillow's and matplotlib's, some of them held out."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import ImageFont

USUAL = ""  # Pillow's own font, Aileron
# Files in matplotlib's folder of fonts. Whole families are held out: a serif and a sans.
TRAINED = (
    USUAL, "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmb10", "cmtt10",
)  # fmt: skip
HELD_OUT = ("DejaVuSerif", "DejaVuSerif-Bold", "cmss10")
MEASURED = 48  # pixels: the size that the extent of a word is measured at


@lru_cache(maxsize=2048)
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels."""
    if name == USUAL:
        return ImageFont.load_default(size)
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), size)


@lru_cache(maxsize=4096)
def extent(text: str, name: str, stroke: int = 0) -> tuple[int, int]:
    """Width and height of the inked part of a text at size `MEASURED`, pixels."""
    left, top, right, bottom = font(name, MEASURED).getbbox(text, stroke_width=stroke)
    return right - left, bottom - top
