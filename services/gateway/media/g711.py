"""G.711: 8-bit μ-law and A-law samples ↔ 16-bit ones (ITU-T G.711, tables 1 and 2)."""

from __future__ import annotations

from typing import Literal

import numpy as np

Law = Literal["pcmu", "pcma"]

SAMPLE_RATE = 8_000  # Hz


def _mu_law() -> np.ndarray:
    """int16 [256], what each code means."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = ((code >> 4) & 7).astype(int), (code & 15).astype(int)
    magnitude = (((mantissa << 3) + 132) << exponent) - 132
    return np.where(code & 128, -magnitude, magnitude).astype("<i2")


def _a_law() -> np.ndarray:
    """int16 [256], what each code means."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((code >> 4) & 7).astype(int), (code & 15).astype(int)
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0))
    return np.where(code & 128, magnitude, -magnitude).astype("<i2")


def _codes(meanings: np.ndarray) -> np.ndarray:
    """uint8 [65536], the code whose meaning is nearest to each 16-bit sample; of two, that of the smaller one."""
    order = np.argsort(meanings, kind="stable")
    ordered = meanings[order].astype(int)
    between = (ordered[1:] + ordered[:-1]) / 2
    samples = np.arange(-32768, 32768)
    return order[np.searchsorted(between, samples)].astype(np.uint8)


MEANINGS = {"pcmu": _mu_law(), "pcma": _a_law()}
CODES = {law: _codes(meanings) for law, meanings in MEANINGS.items()}


def decode(data: bytes, law: Law) -> bytes:
    """8-bit samples → 16-bit little-endian ones."""
    return MEANINGS[law][np.frombuffer(data, np.uint8)].tobytes()


def encode(pcm: bytes, law: Law) -> bytes:
    """16-bit little-endian samples → 8-bit ones."""
    return CODES[law][np.frombuffer(pcm, "<i2").astype(int) + 32768].tobytes()
