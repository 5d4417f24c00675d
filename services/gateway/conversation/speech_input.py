"""What the client's microphone says: which question its audio belongs to, and where that question ends."""

from __future__ import annotations

import asyncio

import grpc

from services.gateway.conversation.end_of_turn import EndOfTurn
from services.gateway.conversation.input_buffer import InputBuffer
from services.gateway.conversation.open_session import OpenSession
from services.gateway.conversation.questions import Questions
from services.gateway.conversation.state_checks import StateChecks
from services.gateway.conversation.turn import Turn
from services.gateway.conversation.turns import Turns
from services.gateway.media.detector import Detector
from services.gateway.media.voice_activity import Segment
from services.gateway.settings import MediaSettings, VadSettings
from services.rpc.errors import ServiceError

MAX_UNHEARD = 4  # complete questions at once whose speech is not encoded yet; more audio waits
JUST_MS = 1000  # of audio; a client that ends a question so soon after the server has ended it means the same one


class SpeechInput:
    """`close` must be called at the end."""

    def __init__(
        self,
        opened: OpenSession,
        questions: Questions,
        turns: Turns,
        model_rate: int,
        media: MediaSettings,
        vad: VadSettings,
        detector: Detector,
    ):
        """`model_rate`: Hz. Raises `ValueError` for a rate of the session's that is not served."""
        self._opened, self._questions, self._turns = opened, questions, turns
        self._model_rate, self._media, self._vad, self._detector = model_rate, media, vad, detector
        self._end_of_turn = EndOfTurn(vad)
        self._buffer = self._open_buffer()
        self._began_ms = 0  # of the newest question
        self._checks = StateChecks(model_rate)
        self._detected_end_ms = -JUST_MS

    @property
    def heard_ms(self) -> int:
        """Of audio, since the session's microphone was opened."""
        return self._buffer.heard_ms

    @property
    def idle(self) -> bool:
        """Nothing of what comes belongs to a question."""
        return not self._buffer.speaking and not self._turns.listening

    async def add(self, chunk: bytes) -> None:
        self.renew()
        for segment in await self._buffer.feed(chunk, self._turns.answering, self._silence):
            if self._buffer.detects:
                await self._detected(segment)
            else:
                self._add_speech(segment.audio)

    def _silence(self) -> float:
        """Seconds of it that end the question, as far as is known now."""
        complete = self._turn.complete if self._turns.listening else None
        return self._end_of_turn.silence(complete, self._opened.session.config.turn_taking)

    async def _detected(self, segment: Segment) -> None:
        if segment.kind == "maybe":
            self._turns.voice(self._opened.session.config.turn_taking.interruption)
        elif segment.kind == "no":
            self._turns.silence()
        elif segment.kind == "start":
            self._turns.end_failed_question()
            await self._turns.catch_up(MAX_UNHEARD)
            self._add_speech(segment.audio, segment.at_ms)
        elif self._turns.listening:
            await self._go_on(segment)

    async def _go_on(self, segment: Segment) -> None:
        """Of the question that is being asked. One that would become too long ends before it."""
        if self._turn.question.seconds_with(segment.audio) > self._media.max_audio_seconds:
            await self._divide()
        self._add_speech(segment.audio)
        if segment.kind == "pause":
            self._turn.pause()
        elif segment.kind == "end":
            await self._end_detected(segment.at_ms, segment.silent_seconds)

    async def _divide(self) -> None:
        """The question is as long as one may be: it is answered, and what is said from here on is the next one."""
        at_ms, before = self._began_ms + round(1000 * self._turn.question.seconds), self._turn.previous
        await self._end_detected(at_ms)
        if before is not None:
            await asyncio.wait({before.task})  # so that one question at most waits for the answer to another
        self._begin(at_ms, goes_on=True)

    async def _end_detected(self, at_ms: int, silent_seconds: float = 0.0) -> None:
        self._detected_end_ms = at_ms
        if self._turn.question.seconds < self._media.min_audio_seconds:  # the rest of one that was too long
            self._turn.cancel_self()
            self._turns.end_failed_question()
            return
        self._questions.ask(at_ms, silent_seconds)
        if self._opened.session.config.turn_taking.items_first:
            await self._turn.committed()  # what comes next comes behind it

    async def end(self) -> None:
        """The client says that the spoken question is complete."""
        if self._turns.listening and not self._of_another:
            self._turn.add_audio(self._buffer.finish())
            self._questions.ask()
        elif not self._turns.end_failed_question():  # else it failed while it was spoken, and the client has been told
            self._end_unspoken()

    def _end_unspoken(self) -> None:
        """The client ends a question of which nothing was said. Raises `ServiceError`, unless its end was detected."""
        mine = self._turns.busy and self._questions.id in ("", self._turn.question_id)
        if not self._turns.listening:
            self._buffer.flush()
        if self._buffer.detects and mine:
            return  # the server detected the end by itself a moment earlier
        if not self._questions.refused:
            message = "end_of_audio came, but no speech since the last question"
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
        self._begin()
        self._questions.ask()

    async def commit(self) -> bool:
        """The spoken question is complete and becomes an item. False: the server has ended it by itself just now.

        Raises `ServiceError` FAILED_PRECONDITION where there is too little of it, or what it failed of meanwhile.
        """
        turn = self._turn
        if self._turns.listening and turn.question.spoken:
            turn.add_audio(self._buffer.finish())
            if not turn.over and turn.question.seconds >= self._media.min_audio_seconds:
                self._questions.ask(self.heard_ms if self._buffer.detects else -1)
                if not await turn.committed() and turn.failure is not None:
                    raise turn.failure
                return True
            turn.cancel_self()
        elif self._buffer.detects and self.heard_ms - self._detected_end_ms < JUST_MS:
            return False
        if self._turns.end_failed_question() and turn.failure is not None:
            raise turn.failure
        message = f"there is less than {self._media.min_audio_seconds:g} s of audio; send some, then commit"
        raise ServiceError(grpc.StatusCode.FAILED_PRECONDITION, message)

    def clear(self) -> None:
        """What was said of a question that is not complete is thrown away."""
        self.drop_held()
        if self._turns.listening and self._turn.question.spoken:
            self._turn.cancel_self()
        self._turns.end_failed_question()

    def drop_held(self) -> None:
        """What is still here of a question belongs to none."""
        self._turns.silence()
        self._buffer.finish()

    def renew(self) -> None:
        """The microphone as the config has it; another connection may have changed it, too. Not within a question."""
        if not self._buffer.fits(self._opened.session.config) and not self._turns.listening:
            self._turns.end_failed_question()
            self._turns.silence()
            self._buffer.close()
            self._buffer = self._open_buffer(self._buffer.heard_ms)

    def close(self) -> None:
        self._buffer.close()

    def _open_buffer(self, start_ms: int = 0) -> InputBuffer:
        config = self._opened.session.config
        return InputBuffer(config, self._model_rate, self._media, self._vad, self._detector, start_ms)

    @property
    def _turn(self) -> Turn | None:
        return self._turns.newest

    @property
    def _of_another(self) -> bool:
        """What comes is of another question than the one that is being said; detected speech is of that one."""
        return self._turns.listening and not self._buffer.detects and self._questions.begun is None

    def _add_speech(self, audio: bytes, at_ms: int = -1) -> None:
        """Audio of a question, which begins with it unless one is being asked."""
        if self._turn is None or self._turn.asked or self._of_another:
            self._begin(at_ms)
        if not self._turn.over:  # the rest of a question that failed is dropped until its end
            self._turn.add_audio(audio)
            self._checks.heard(self._turn, audio)

    def _begin(self, at_ms: int = -1, goes_on: bool = False) -> None:
        """`goes_on`: it is the rest of the question before, whose answer it does not interrupt."""
        self._began_ms = at_ms
        interruption = "never" if goes_on else None
        self._questions.begin(True, self._buffer.detects, at_ms, interruption)
