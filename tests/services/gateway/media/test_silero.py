"""The network's file is what `convert` makes of Silero's."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from services.gateway.media.silero import FILE, convert


def test_the_file_is_what_is_made_of_the_published_one():
    made = convert.convert(Path(str(files("silero_vad.data") / "silero_vad_16k_op15.onnx")))
    shipped = onnx.load(FILE)
    assert shipped.graph.node == made.graph.node
    for ours, theirs in zip(shipped.graph.initializer, made.graph.initializer, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(numpy_helper.to_array(ours), numpy_helper.to_array(theirs))


def test_the_licence_is_beside_it():
    assert "Silero Team" in (FILE.parent / "LICENSE").read_text()
