"""The questions of a connection: what waits in the draft for the next one, how one begins, and how it is asked."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import grpc

from services.gateway.conversation.draft import Draft
from services.gateway.conversation.open_session import OpenSession
from services.gateway.conversation.question import Question
from services.gateway.conversation.request import TurnRequest
from services.gateway.conversation.turn import Turn, TurnTools, failed
from services.gateway.conversation.turns import Turns
from services.gateway.events import Body, Event, SpeechStarted, SpeechStopped, TurnDone
from services.gateway.events.session import Interruption
from services.gateway.media.images import EncodedImage, Kind
from services.gateway.media.memory_budget import Holder
from services.gateway.settings import MediaSettings
from services.gateway.upstream.calls import Calls
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much
from services.telemetry import tracing


class Questions:
    """`open` before the first input."""

    def __init__(self, turns: Turns, tools: TurnTools, memory: Holder):
        self.id = ""  # the client's name for the question that the input at hand belongs to
        self.unanswered = False  # the client has created an item that `respond` may answer
        self._turns, self._tools, self._images, self._settings = turns, tools, tools.images, tools.settings
        self._draft = Draft(tools.settings.max_frames)
        self._memory = memory
        self._file_bytes: weakref.WeakKeyDictionary[asyncio.Task, int] = weakref.WeakKeyDictionary()  # by picture

    def open(self, opened: OpenSession, model_rate: int, media: MediaSettings) -> None:
        """`model_rate`: Hz, of the audio of questions."""
        self._opened, self._model_rate, self._media = opened, model_rate, media

    # What belongs to a question.

    def add_text(self, text: str) -> None:
        if not text.strip():
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, "text is empty")
        target = self.begun.question if self.begun is not None else self._draft
        length, limit = target.characters + len(text), self._settings.max_text_chars
        if length > limit:
            raise too_much("gateway", "max_text_chars", f"text of {length} characters is above the limit of {limit}")
        target.texts.append(text)

    def add_image(self, kind: Kind, data: bytes) -> None:
        self._images.check(kind, data)
        turn = self.begun
        held = turn.question.images if turn is not None else self._draft.images
        if len(held) >= self._settings.max_pictures:
            message = f"a question may have {self._settings.max_pictures} pictures; this one is too many"
            raise too_much("gateway", "max_pictures", message)
        self._memory.check(len(data))
        if turn is not None:
            turn.add_image(self._encode(kind, [data], turn.calls, turn.span))
        else:
            encoding = self._encode_for_draft(kind, data)
            self._draft.images.append(self._start(encoding, self._draft.open_span(), len(data)))

    def add_frame(self, data: bytes) -> None:
        self._images.check("frame", data)
        self._memory.check(len(data) - self._draft.oldest_frame_bytes)
        self._draft.frames.append(data)

    def refuse_part(self, question_id: str, error: Exception) -> None:
        """A part that belongs to no named question is left out; otherwise the question is refused with it."""
        if question_id and (turn := self._begun(question_id)) is not None:
            turn.fail(error)
            return
        self.emit(failed(error), question_id)
        if question_id:
            self._draft.refuse(question_id, error)

    def refuse_end(self, error: Exception) -> None:
        """A named question is over with it; one without a name may be ended again."""
        if self.id and self.begun is not None:
            self.begun.fail(error)
            self._turns.end_failed_question()
            return
        self.emit(failed(error), self.id)
        if self.id and not self._turns.named(self.id):  # else its turn will tell how it ended
            self.emit(TurnDone("failed"), self.id)
            self._draft.discard()

    def discard(self) -> None:
        """The client has taken back what it sent for the next question."""
        self._draft.discard()

    @property
    def held_bytes(self) -> int:
        """Of the pictures' files, also those of turns that run."""
        pictures = (*self._draft.images, *self._turns.pictures)
        return sum(self._file_bytes.get(each, 0) for each in pictures) + sum(map(len, self._draft.frames))

    @property
    def begun(self) -> Turn | None:
        """The question that is being said, where the input at hand is part of it."""
        return self._begun(self.id)

    def _begun(self, question_id: str) -> Turn | None:
        turn = self._turns.newest
        mine = self._turns.listening and (not question_id or turn.question_id in ("", question_id))
        return turn if mine else None

    @property
    def refused(self) -> bool:
        """A part of the question at hand was refused before it began."""
        return self._draft.refused(self.id)

    @property
    def written(self) -> bool:
        """Something waits that can be asked without speech."""
        return bool(self._draft.texts or self._draft.images or self.refused)

    # Their turns.

    def maker(self, request: TurnRequest, question: Question | None = None) -> Callable[..., Turn]:
        """Makes a turn of the turn before it and what it may interrupt."""
        question = question or Question(False, self._model_rate, self._media)
        span = self._draft.take_span()
        return functools.partial(
            Turn, self._opened.session, question, self.id, request=request, span=span, tools=self._tools
        )

    def begin(
        self, spoken: bool, detected: bool = False, at_ms: int = -1, interruption: Interruption | None = None
    ) -> Turn:
        """A new question, with what the draft holds. `detected`: the server noticed by itself that it is spoken.

        One that is still being said is given up.
        `interruption`: None: as the session and the gateway's settings say.
        """
        self.unanswered = False
        if self._turns.listening:
            self._turns.newest.cancel_self()
            self._turns.end_failed_question()
        config = self._opened.session.config
        turns = config.turn_taking
        question = Question(spoken, self._model_rate, self._media)
        request = TurnRequest(config, answers=turns.answer if detected else not turns.items_first)
        interruption = interruption or (turns.interruption if detected or not turns.items_first else "never")
        turn = self._turns.begin(self.maker(request, question), detected, interruption)
        self._hand_over_draft(turn)
        if spoken:
            turn.emit_now(SpeechStarted(at_ms))
        return turn

    def _hand_over_draft(self, turn: Turn) -> None:
        if frames := self._draft.take_frames():
            self._draft.images.append(self._encode("frames", frames, turn.calls, turn.span))
        for image in self._draft.images:
            again = self._images.encode_again(image, self._opened.session.id, turn.calls)
            turn.add_image(self._start(again, turn.span, self._file_bytes.pop(image, 0)))
        turn.question.texts.extend(self._draft.texts)
        if self.refused:
            turn.fail(self._draft.refusal.error)
        self._draft.clear()

    def ask(self, at_ms: int = -1, silent_seconds: float = 0.0) -> None:
        """The newest question is complete. `silent_seconds`: since its last sound."""
        turn = self._turns.newest
        turn.question_id = self.id or turn.question_id
        if turn.question.spoken and not turn.over:
            turn.emit_now(SpeechStopped(at_ms))
        turn.ask(silent_seconds)

    def emit(self, body: Body, question_id: str = "") -> None:
        self._tools.outbox.put_now(Event(body, question_id=question_id))

    # Their pictures.

    def _encode(self, kind: Kind, files: list[bytes], calls: Calls, turn: tracing.Span) -> asyncio.Task[EncodedImage]:
        """`turn`: the span of the turn that it belongs to."""
        encoding = self._images.encode(kind, files, self._opened.session.id, calls)
        return self._start(encoding, turn, sum(map(len, files)))

    async def _encode_for_draft(self, kind: Kind, data: bytes) -> EncodedImage:
        """For a question that has not begun: by the release that is current now, and stays until it is done."""
        with self._tools.releases.bind() as calls:
            return await self._images.encode(kind, [data], self._opened.session.id, calls)

    def _start(
        self, encoding: Coroutine[Any, Any, EncodedImage], turn: tracing.Span, file_bytes: int
    ) -> asyncio.Task[EncodedImage]:
        """`turn`: the span of the turn that it belongs to."""
        image = asyncio.create_task(encoding, context=tracing.within(turn))
        self._file_bytes[image] = file_bytes
        image.add_done_callback(functools.partial(self._image_done, self.id))
        return image

    def _image_done(self, question_id: str, image: asyncio.Task) -> None:
        """A picture of the draft that cannot be read is told at once; one of a turn fails the turn."""
        if image.cancelled() or image.exception() is None or image not in self._draft.images:
            return
        self._draft.images.remove(image)
        self.refuse_part(question_id, image.exception())
