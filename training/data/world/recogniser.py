"""Speech recognition with pocketsphinx, independent of our models, to measure spoken answers and the codec."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder

from training.data.world.sentences import bigrams, corpus

SAMPLE_RATE = 16_000
LEAD = 0.15  # seconds of near-silence on both sides: speech that begins at once is cut off
NOISE = 1e-4


class Recogniser:
    """Its language model is a bigram model of the world's sentences; its acoustic model is pocketsphinx's own."""

    def __init__(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "world.arpa"
            path.write_text(bigrams(corpus()))
            self.decoder = Decoder(lm=str(path), samprate=SAMPLE_RATE, loglevel="FATAL")

    def transcribe(self, audio: np.ndarray) -> str:
        """The words of float32 audio at 16 kHz."""
        pad = np.random.default_rng(0).normal(0, NOISE, int(LEAD * SAMPLE_RATE)).astype(np.float32)
        audio = np.concatenate([pad, audio.astype(np.float32), pad])
        peak = float(np.abs(audio).max())
        samples = np.clip(audio * (0.7 / max(peak, 0.05)) * 32767, -32768, 32767).astype("<i2")
        self.decoder.start_utt()
        self.decoder.process_raw(samples.tobytes(), full_utt=True)
        self.decoder.end_utt()
        found = self.decoder.hyp()
        return found.hypstr if found else ""
