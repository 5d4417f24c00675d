"""A sheet of pictures, to look at."""

from __future__ import annotations

from PIL import Image


def sheet(images: list[Image.Image], columns: int = 8, scale: int = 2, gap: int = 4) -> Image.Image:
    """Pictures side by side, enlarged."""
    side = images[0].width * scale + gap
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * side - gap, rows * side - gap), "white")
    for index, image in enumerate(images):
        large = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
        page.paste(large, (index % columns * side, index // columns * side))
    return page
