"""The bundled question: made from the world, out of what is held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.data.world.examples import write_bundle

EXAMPLES = Path(__file__).parents[4] / "examples"


def test_the_bundled_picture_is_what_the_world_draws(tmp_path):
    write_bundle(tmp_path)
    made, bundled = Image.open(tmp_path / "scene.png"), Image.open(EXAMPLES / "scene.png")
    assert np.array_equal(np.asarray(made), np.asarray(bundled))
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in EXAMPLES.iterdir()}
