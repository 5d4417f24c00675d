"""The client's microphone: its audio at the model's rate, and where questions begin and end in it."""

from __future__ import annotations

from services.gateway.events.session import SessionConfig
from services.gateway.media.audio import InputAudio
from services.gateway.media.voice_activity import Segment, VoiceActivity
from services.gateway.settings import MediaSettings, VadSettings


class InputBuffer:
    def __init__(self, config: SessionConfig, model_rate: int, media: MediaSettings, vad: VadSettings):
        """`model_rate`: Hz. Raises `ValueError` for an input rate that is not served."""
        self._config = config
        self._audio = InputAudio(config.input_sample_rate, model_rate, media.max_chunk_seconds)
        self._vad = None if config.manual_turns else VoiceActivity(vad, model_rate)

    def fits(self, config: SessionConfig) -> bool:
        """Whether it still is what the config asks for."""
        before = self._config
        return (config.manual_turns, config.input_sample_rate) == (before.manual_turns, before.input_sample_rate)

    @property
    def detects(self) -> bool:
        """Whether questions are detected here; otherwise the client says where they end."""
        return self._vad is not None

    @property
    def speaking(self) -> bool:
        return self._vad is not None and self._vad.speaking

    def feed(self, chunk: bytes, answering: bool) -> list[Segment]:
        """`answering`: an answer is being given, so interrupting takes longer. Raises `ValueError`, `ServiceError`."""
        audio = self._audio.feed(chunk)
        return [Segment("more", audio)] if self._vad is None else self._vad.feed(audio, answering)

    def finish(self) -> bytes:
        """The client says that the question has ended: the samples that are still here."""
        held = self._vad.finish() if self._vad is not None else b""
        return held + self.flush()

    def flush(self) -> bytes:
        """The samples that the resampler still holds; what comes next is of another question."""
        return self._audio.flush()
