"""The warm-up question: its picture and sound are what they say."""

import io

import numpy as np
from PIL import Image

from services.promotion.warm_up import SAMPLE_RATE, tone, white_picture


def test_the_picture_is_a_white_png():
    with Image.open(io.BytesIO(white_picture())) as image:
        assert image.format == "PNG" and image.size == (32, 32)
        assert np.asarray(image.convert("RGB")).min() == 255


def test_the_sound_is_a_second_of_440_hz():
    samples = np.frombuffer(tone(), "<i2").astype(float)
    assert len(samples) == SAMPLE_RATE and np.abs(np.fft.rfft(samples)).argmax() == 440
