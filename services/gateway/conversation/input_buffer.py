"""The client's microphone: its audio at the model's rate, and where questions begin and end in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from services.gateway.events.session import SessionConfig, TurnTaking
from services.gateway.media.audio import InputAudio
from services.gateway.media.detector import Detector
from services.gateway.media.voice_activity import Segment, VoiceActivity
from services.gateway.settings import MediaSettings, VadSettings


def _of_input(config: SessionConfig) -> tuple:
    """What of a config is about the microphone."""
    turns = config.turn_taking
    return config.manual_turns, config.input_sample_rate, turns.start, turns.preroll_seconds


def _detection(vad: VadSettings, wanted: TurnTaking) -> VadSettings:
    """The settings, with what the session asks for in their place."""
    changes = {name: getattr(wanted, name) for name in ("start", "preroll_seconds")}
    changes = {name: value for name, value in changes.items() if value is not None}
    if "start" in changes:  # the end keeps its distance below the start
        changes["end"] = max(0.01, changes["start"] - (vad.start - vad.end))
    return vad.model_copy(update=changes)


class InputBuffer:
    """`close` must be called at the end."""

    def __init__(
        self,
        config: SessionConfig,
        model_rate: int,
        media: MediaSettings,
        vad: VadSettings,
        detector: Detector,
        start_ms: int = 0,
    ):
        """`model_rate`: Hz. `start_ms`: audio that came before. Raises `ValueError` for a rate that is not served."""
        self._config, self._model_rate = config, model_rate
        self._start_ms, self._bytes = start_ms, 0
        self._audio = InputAudio(config.input_sample_rate, model_rate, media.max_chunk_seconds)
        self._vad: VoiceActivity | None = None
        if not config.manual_turns:
            self._vad = VoiceActivity(_detection(vad, config.turn_taking), model_rate, detector)

    def fits(self, config: SessionConfig) -> bool:
        """Whether it still is what the config asks for."""
        return config is self._config or _of_input(config) == _of_input(self._config)

    @property
    def detects(self) -> bool:
        """Whether questions are detected here; otherwise the client says where they end."""
        return self._vad is not None

    @property
    def speaking(self) -> bool:
        return self._vad is not None and self._vad.speaking

    async def feed(
        self, chunk: bytes, answering: bool, end_seconds: Callable[[], float] | None = None
    ) -> Iterator[Segment]:
        """As `VoiceActivity.feed`, of the client's audio. Raises `ValueError`, `ServiceError` for what is none."""
        audio = self._audio.feed(chunk)
        self._bytes += len(audio)
        if self._vad is None:
            return iter([Segment("more", audio)])
        return map(self._placed, await self._vad.feed(audio, answering, end_seconds))

    @property
    def heard_ms(self) -> int:
        """Of audio, since the session's microphone was opened."""
        return self._start_ms + round(1000 * self._bytes / 2 / self._model_rate)

    def _placed(self, segment: Segment) -> Segment:
        """On the clock of the session's input."""
        return segment if segment.at_ms < 0 else replace(segment, at_ms=self._start_ms + segment.at_ms)

    def finish(self) -> bytes:
        """The client says that the question has ended: the samples that are still here."""
        held = self._vad.finish() if self._vad is not None else b""
        return held + self.flush()

    def flush(self) -> bytes:
        """The samples that the resampler still holds; what comes next is of another question."""
        return self._audio.flush()

    def close(self) -> None:
        if self._vad is not None:
            self._vad.close()
