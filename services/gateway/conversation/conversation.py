"""One client's connection: what it sends, in order, and which turn that belongs to.

Notable points:
- What arrives before a question (pictures, text, camera frames) waits in a draft and belongs to the next one; pictures
  are encoded at once.
- A refused input is answered with `Failed`; the connection goes on. If it was part of a named question, the question is
  refused as a whole, whenever the refusal came. A named question always ends with a `TurnDone`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Literal

import grpc

from services.gateway.conversation.delivery import Delivery
from services.gateway.conversation.draft import Draft
from services.gateway.conversation.input_buffer import InputBuffer
from services.gateway.conversation.interruption import InterruptionPolicy
from services.gateway.conversation.item_editor import ItemEditor
from services.gateway.conversation.open_session import OpenSession
from services.gateway.conversation.outbox import Outbox
from services.gateway.conversation.part_encoder import PartEncoder
from services.gateway.conversation.question import Question
from services.gateway.conversation.request import TurnRequest
from services.gateway.conversation.takeover import Takeover
from services.gateway.conversation.tools import check_tools
from services.gateway.conversation.turn import Turn, TurnTools, failed
from services.gateway.conversation.turns import Turns
from services.gateway.events import (
    Body,
    Event,
    ItemCreated,
    ItemDeleted,
    ItemRetrieved,
    ItemTruncated,
    SilenceNoticed,
    SpeechStarted,
    SpeechStopped,
    TurnDone,
)
from services.gateway.events.items import Item, ItemPart, answer_item_id, question_item_id
from services.gateway.events.session import SessionConfig
from services.gateway.media.detector import Detector
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.images import EncodedImage, Images, Kind
from services.gateway.media.originals import Originals
from services.gateway.media.recordings import Recordings
from services.gateway.settings import ConversationSettings, MediaSettings, VadSettings
from services.gateway.store.protocols import Store
from services.gateway.upstream.calls import Calls, Releases
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much
from services.telemetry import logs, tracing

log = logs.get_logger(__name__)

MAX_QUESTION_ID = 64  # characters
MAX_BACKLOG = 4  # times max_unread_events, which only the audio and text of turns wait for
MAX_BESIDE = 4  # answers at once that are not part of the session
MAX_UNHEARD = 4  # complete questions at once whose speech is not encoded yet; more audio waits
JUST_MS = 1000  # of audio; a client that ends a question so soon after the server has ended it means the same one


class Conversation:
    """`open` first, then the other inputs in the order in which they come, then `finish` or `abandon`.

    `delivery.events()` is what the client is to be told. Inputs raise nothing but for a flood.
    """

    def __init__(
        self,
        store: Store,
        releases: Releases,
        settings: ConversationSettings,
        media: MediaSettings,
        vad: VadSettings,
        detector: Detector,
    ):
        self.outbox = Outbox(settings.max_unread_events)
        self.delivery = Delivery(self.outbox, store.events)
        self.last_input = time.monotonic()
        self._store, self._releases = store, releases
        self._settings, self._media, self._vad, self._detector = settings, media, vad, detector
        self._embeddings = EmbeddingWriter(store.embeddings)
        self._images = Images(store.embeddings, self._embeddings, media)
        originals = Originals(store.embeddings, self._embeddings)
        self._parts = PartEncoder(store.embeddings, settings, media)
        self._tools = TurnTools(
            releases,
            store,
            self._images,
            originals,
            self._embeddings,
            Recordings(store.embeddings, self._embeddings),
            self._parts,
            self.outbox,
            self.delivery,
            settings,
        )
        self._turns = Turns(InterruptionPolicy(settings.interruption, self.outbox), self._turn_ended)
        self._draft = Draft(settings.max_frames)
        self._input: InputBuffer | None = None  # until the session is open
        self._inputs = 0  # since the last turn ended
        self._question_id = ""  # of the input at hand
        self._unanswered = False  # the client has created an item that `respond` may answer

    async def open(
        self,
        session_id: str,
        changes: Mapping[str, Any],
        owner: str = "",
        resumable: bool = False,
        after: int | None = None,
    ) -> None:
        """Opens the session of this owner (`Caller.key_id`) and says so.

        `resumable`: when the connection is lost, another one can go on `after` the last event that the client got.
        Raises `ServiceError`; the connection cannot go on then.
        """
        if after is not None and not session_id:
            raise _refuse("the session to resume is not named; send the session_id with the last event's number")
        encoder = await self._releases.current.describe("speech_encoder")
        self._model_rate = encoder.input_sample_rate
        longest = min(self._media.max_audio_seconds, encoder.max_audio_seconds)
        self._media = self._media.model_copy(update={"max_audio_seconds": longest})
        self._opened = OpenSession(self._store, self._releases, self._model_rate, self._settings)
        ready = await self._opened.open(session_id, changes, owner)
        self._input = InputBuffer(ready.config, self._model_rate, self._media, self._vad, self._detector)
        self._detected_end_ms = -JUST_MS
        self._items = ItemEditor(self._store.items, self.session_id, self._settings.max_text_chars)
        logs.bind(self.session_id)
        await self.delivery.begin(self.session_id, resumable or after is not None)
        takeover = Takeover(self._opened.session, self._tools, self.delivery, self._model_rate, self._media)
        if after is not None:
            if (make := await takeover.resume(after, ready)) is not None:
                self._turns.begin(make, detected=False).ask()
        else:
            if session_id and (added := await takeover.settle()):
                ready = replace(ready, items=ready.items + len(added), last_item_id=added[-1].id)
            self._emit(ready)

    @property
    def session_id(self) -> str:
        return self._opened.session.id

    @property
    def input_rate(self) -> int:
        """Hz, of the audio that the client sends."""
        return self._opened.session.config.input_sample_rate

    @property
    def model_rate(self) -> int:
        """Hz, of the audio that the speech encoder takes."""
        return self._model_rate

    @property
    def config(self) -> SessionConfig:
        return self._opened.session.config

    @property
    def busy(self) -> bool:
        """A turn runs."""
        return self._turns.busy

    # Guards around one input.

    @contextlib.contextmanager
    def input(self, question_id: str, part: bool = False, end: bool = False):
        """Around the handling of one input: what it raises is told to the client. Raises for a flood only.

        `part`: the input is part of a question, which is refused with it. `end`: it ends a question.
        """
        self.count_input()
        self._question_id = question_id[:MAX_QUESTION_ID]
        if self._turn is not None and self._question_id not in ("", self._turn.question_id):
            self._turns.end_failed_question()  # this is of another question
        try:
            if len(question_id) > MAX_QUESTION_ID:
                raise _refuse(f"question_id is longer than {MAX_QUESTION_ID} characters")
            yield
        except (ServiceError, ValueError) as error:
            if part:
                self._refuse_part(self._question_id, error)
            else:
                self._emit(failed(error), self._question_id)
            if end and self._question_id:
                self._emit(TurnDone("failed"), self._question_id)

    def count_input(self) -> None:
        """One more input has come. Raises `ServiceError` for a flood."""
        self.last_input = time.monotonic()
        self._inputs += 1
        if self._inputs > self._settings.max_turn_events:
            message = f"more than {self._settings.max_turn_events} events came without an end of a turn"
            raise too_much("gateway", "max_turn_events", message)
        if self.outbox.backlog > MAX_BACKLOG * self._settings.max_unread_events:
            message = f"the client has left {self.outbox.backlog} events unread; read them as they come"
            raise too_much("gateway", "max_unread_events", message)

    def emit(self, body: Body) -> None:
        """Tells the client, behind what it is being told."""
        self._emit(body)

    async def finish(self) -> None:
        """The client has closed its side: a question that is not complete is given up, an answer is still given."""
        if self._turn is not None and not self._turn.asked:
            self._turn.cancel_self()
        await self._turns.wait()
        self.outbox.close()

    async def abandon(self) -> None:
        """The client is gone, or the connection must end: everything stops, what was played is kept.

        Where the connection is resumable, an answer can go on through another one.
        """
        if self.delivery.resumable:
            self._turns.leave()
        else:
            self._turns.cancel()
        self._draft.discard()
        await self._turns.wait()
        if self._input is not None:
            self._input.close()
        self.outbox.close()
        await self.delivery.close()
        await self._embeddings.wait()

    # Inputs: the question.

    async def add_audio(self, chunk: bytes) -> None:
        self._renew_input()
        for segment in await self._input.feed(chunk, self._turns.answering):
            if not self._input.detects:
                self._add_speech(segment.audio)
            elif segment.kind in ("maybe", "no"):
                pass
            elif segment.kind == "start":
                self._turns.end_failed_question()
                await self._turns.catch_up(MAX_UNHEARD)
                self._add_speech(segment.audio, segment.at_ms)
            elif self._turns.listening:
                self._add_speech(segment.audio)
                if segment.kind == "end":
                    self._detected_end_ms = segment.at_ms
                    self._ask(segment.at_ms)
                    if self.config.turn_taking.items_first:
                        await self._turn.committed()  # what comes next comes behind it
        if not self._input.speaking and not self._turns.listening:
            self._inputs -= 1  # a silent microphone may stay open, and so may one whose question has failed

    async def end_audio(self) -> None:
        """The spoken question is complete."""
        if self._turn is None or self._turn.asked:
            detected = self._input.detects and self.busy and self._question_id in ("", self._turn.question_id)
            self._input.flush()
            if detected:
                return  # the server detected the end by itself a moment earlier
            if not self._draft.refused(self._question_id):
                raise _refuse("end_of_audio came, but no speech since the last question")
            self._begin(spoken=True)
            self._ask()
        elif not self._turn.over:
            self._turn.add_audio(self._input.finish())
            self._ask()
        else:  # it failed while it was spoken, and the client has been told
            self._turns.end_failed_question()

    async def commit_audio(self) -> bool:
        """The spoken question is complete and becomes an item. False: the server has ended it by itself just now.

        Raises `ServiceError` FAILED_PRECONDITION where there is too little of it, or what it failed of meanwhile.
        """
        turn = self._turn
        if self._turns.listening and turn.question.spoken:
            turn.add_audio(self._input.finish())
            if not turn.over and turn.question.seconds >= self._media.min_audio_seconds:
                self._ask(self._input.heard_ms if self._input.detects else -1)
                if not await turn.committed() and turn.failure is not None:
                    raise turn.failure
                return True
            turn.cancel_self()
        elif self._input.detects and self._input.heard_ms - self._detected_end_ms < JUST_MS:
            return False
        if self._turns.end_failed_question() and turn.failure is not None:
            raise turn.failure
        message = f"there is less than {self._media.min_audio_seconds:g} s of audio; send some, then commit"
        raise ServiceError(grpc.StatusCode.FAILED_PRECONDITION, message)

    async def clear_audio(self) -> None:
        """What was said of a question that is not complete is thrown away."""
        self._input.finish()
        if self._turns.listening and self._turn.question.spoken:
            self._turn.cancel_self()
        self._turns.end_failed_question()

    async def answer(self, request: TurnRequest) -> str:
        """Answers the items of the session, or those that the request names. Returns the id of the turn.

        Raises `ServiceError` FAILED_PRECONDITION while another answer is being made, and for tools that cannot be.
        """
        check_tools(request.config, self._settings)
        if not request.kept:
            if len(self._turns.beside) >= MAX_BESIDE:
                raise ServiceError.at_capacity("answers beside the session", MAX_BESIDE)
            return self._turns.begin_beside(self._maker(request)).ask_at_once()
        await self._turns.wait_for_cancelled()  # clients are told of one answer after the other
        if self._turns.active is not None:
            raise ServiceError(grpc.StatusCode.FAILED_PRECONDITION, "an answer is being made already")
        self._unanswered = False
        if self._turns.listening:  # what is being said goes on, and is not answered
            await self._turn.only_listen()
            return self._turns.begin_beside(self._maker(request)).ask_at_once()
        return self._turns.begin(self._maker(request), detected=False, interruption="never").ask_at_once()

    async def answer_silence(self, request: TurnRequest, seconds: float) -> None:
        """Nobody has said anything for so long: the silence becomes an item, and is answered."""
        if self._turns.listening or self._turns.active is not None:
            return
        turn_id, end_ms = secrets.token_urlsafe(9), self._input.heard_ms
        item = Item(id=question_item_id(turn_id), role="user", turn_id=turn_id, parts=[ItemPart(kind="speech")])
        previous = await self._store.items.insert(self.session_id, item)
        silence = SilenceNoticed(max(0, end_ms - round(1000 * seconds)), end_ms)
        for body in (silence, ItemCreated(item, previous)):
            self.outbox.put_now(Event(body, turn_id))
        await self.answer(request)

    async def cancel_answer(self, turn_id: str = "") -> bool:
        """Stops an answer; empty: that of the session. False where none is being made."""
        turn = self._turns.find(turn_id) if turn_id else self._turns.active
        if turn is None or turn.over or not turn.asked or not turn.request.answers:
            return False
        turn.cancel_self()
        return True

    async def respond(self) -> None:
        """Answer what has been sent."""
        if self._turns.listening:
            await self.end_audio()
            return
        failed_before = self._turns.end_failed_question()
        asked = self._draft.texts or self._draft.images or self._draft.refused(self._question_id)
        if asked or (self._unanswered and not failed_before):
            self._begin(spoken=False)
            self._ask()
        elif not failed_before:  # else the client has been told that the question failed
            raise _refuse("respond came, but nothing to answer since the last question")

    async def add_text(self, text: str) -> None:
        if not text.strip():
            raise _refuse("text is empty")
        target = self._turn.question if self._turns.listening else self._draft
        length, limit = target.characters + len(text), self._settings.max_text_chars
        if length > limit:
            raise too_much("gateway", "max_text_chars", f"text of {length} characters is above the limit of {limit}")
        target.texts.append(text)

    async def add_image(self, kind: Kind, data: bytes) -> None:
        self._images.check(kind, data)
        held = self._turn.question.images if self._turns.listening else self._draft.images
        if len(held) >= self._settings.max_pictures:
            message = f"a question may have {self._settings.max_pictures} pictures; this one is too many"
            raise too_much("gateway", "max_pictures", message)
        if self._turns.listening:
            self._turn.add_image(self._encode(kind, [data], self._turn.calls, self._turn.span))
        else:
            encoding = self._encode_for_draft(kind, data)
            self._draft.images.append(self._start(encoding, self._draft.open_span()))

    async def add_frame(self, data: bytes) -> None:
        self._images.check("frame", data)
        self._draft.frames.append(data)

    # Inputs: the turn and the session.

    async def cancel(self) -> None:
        self._turns.cancel()
        self._turns.end_failed_question()
        self._input.finish()
        self._draft.discard()

    async def set_played(self, turn_id: str, samples: int) -> None:
        """How far the client has played the audio of a turn."""
        if samples < 0 or not 0 < len(turn_id) <= MAX_QUESTION_ID:
            raise _refuse("played names a turn and how many of its samples were played, 0 or more")
        turn = self._turns.find(turn_id)
        if turn is None or turn.record.written:
            await self._store.items.set_played(self.session_id, answer_item_id(turn_id), samples)
        if turn is not None:
            turn.answer.set_played(samples)

    async def update(self, changes: Mapping[str, Any]) -> None:
        """Changes the session's configuration, from the next turn on."""
        if self._turns.listening and any(changes.get(name, now) != now for name, now in self._fixed().items()):
            raise _refuse("turn_detection and input_sample_rate cannot change while a question is spoken")
        updated = await self._opened.update(changes)
        self._renew_input()
        self._emit(updated)

    def _fixed(self) -> dict[str, Any]:
        """What of the config cannot change while a question is spoken."""
        fixed: dict[str, Any] = {"input_sample_rate": self.config.input_sample_rate}
        return fixed if self.config.turn_taking.items_first else fixed | {"manual_turns": self.config.manual_turns}

    def _renew_input(self) -> None:
        """The microphone as the config has it; another connection may have changed it, too. Not within a question."""
        if not self._input.fits(self.config) and not self._turns.listening:
            self._turns.end_failed_question()
            self._input.close()
            self._input = InputBuffer(
                self.config, self._model_rate, self._media, self._vad, self._detector, self._input.heard_ms
            )

    async def encode_part(self, kind: Literal["image", "speech"], data: bytes) -> ItemPart:
        """A picture's file, or 16-bit mono at the speech encoder's rate, as a part of an item to be created."""
        with self._releases.bind() as calls:
            if kind == "image":
                return await self._parts.encode_image(data, self.session_id, calls)
            return await self._parts.encode_audio(data, self.session_id, calls)

    async def create_item(self, item: Item, previous_item_id: str) -> None:
        self._emit(await self._items.create(item, previous_item_id))
        self._unanswered = item.role == "user" or item.type == "function_call_output"
        self._turns.history_changed()

    async def retrieve_item(self, item_id: str, with_audio: bool = False) -> None:
        item = await self.item(item_id)
        recording = await self._tools.recordings.get(self.session_id, item_id) if with_audio else None
        if recording is None:
            self._emit(ItemRetrieved(item))
        else:
            played = len(recording.audio) if item.played is None else 2 * item.played
            self._emit(ItemRetrieved(item, recording.audio[:played], recording.sample_rate))

    async def item(self, item_id: str) -> Item:
        """Also of an answer that is being made. Raises `ServiceError` NOT_FOUND."""
        making = self._making(item_id)
        return making if making is not None else await self._items.get(item_id)

    async def truncate_item(self, item_id: str, samples: int) -> None:
        if self._making(item_id) is not None:
            await self.set_played(_turn_of(item_id), samples)
            self._emit(ItemTruncated(item_id, samples))
        else:
            self._emit(await self._items.truncate(item_id, samples))
        self._turns.history_changed()

    async def delete_item(self, item_id: str) -> None:
        turn = self._turns.find(_turn_of(item_id))
        if turn is not None and not turn.record.written and item_id == answer_item_id(turn.id):
            turn.drop_answer()
            self._emit(ItemDeleted(item_id))
        else:
            self._emit(await self._items.delete(item_id))
        self._turns.history_changed()

    def _making(self, item_id: str) -> Item | None:
        """The item of an answer that is not written yet, as far as it has come."""
        turn = self._turns.find(_turn_of(item_id))
        if turn is None or turn.record.written:
            return None
        return next((item for item in turn.items() if item.id == item_id and item.role == "assistant"), None)

    # Turns.

    @property
    def _turn(self) -> Turn | None:
        return self._turns.newest

    def _add_speech(self, audio: bytes, at_ms: int = -1) -> None:
        """Audio of a question, which begins with it unless one is being asked."""
        if self._turn is None or self._turn.asked:
            self._begin(spoken=True, at_ms=at_ms)
        if not self._turn.over:  # the rest of a question that failed is dropped until its end
            self._turn.add_audio(audio)

    def _maker(self, request: TurnRequest, question: Question | None = None) -> Callable[..., Turn]:
        """Makes a turn of the turn before it and what it may interrupt."""
        question = question or Question(False, self._model_rate, self._media)
        span = self._draft.take_span()
        session, question_id = self._opened.session, self._question_id
        return functools.partial(Turn, session, question, question_id, request=request, span=span, tools=self._tools)

    def _begin(self, spoken: bool, at_ms: int = -1) -> None:
        """A new question, with what the draft holds."""
        self._unanswered = False
        question = Question(spoken, self._model_rate, self._media)
        detected = spoken and self._input.detects
        turns = self.config.turn_taking
        request = TurnRequest(self.config, answers=turns.answer if detected else not turns.items_first)
        interruption = turns.interruption if detected or not turns.items_first else "never"
        turn = self._turns.begin(self._maker(request, question), detected, interruption)
        span = turn.span
        if frames := self._draft.take_frames():
            self._draft.images.append(self._encode("frames", frames, turn.calls, span))
        for image in self._draft.images:
            turn.add_image(self._start(self._images.encode_again(image, self.session_id, turn.calls), span))
        question.texts.extend(self._draft.texts)
        if self._draft.refused(self._question_id):
            turn.fail(self._draft.refusal.error)
        self._draft.clear()
        if spoken:
            turn.emit_now(SpeechStarted(at_ms))

    def _ask(self, at_ms: int = -1) -> None:
        turn = self._turn
        turn.question_id = self._question_id or turn.question_id
        if turn.question.spoken and not turn.over:
            turn.emit_now(SpeechStopped(at_ms))
        turn.ask()

    def _turn_ended(self) -> None:
        self._inputs = 0
        self.last_input = time.monotonic()

    # Parts.

    def _encode(self, kind: Kind, files: list[bytes], calls: Calls, turn: tracing.Span) -> asyncio.Task[EncodedImage]:
        """`turn`: the span of the turn that it belongs to."""
        return self._start(self._images.encode(kind, files, self.session_id, calls), turn)

    async def _encode_for_draft(self, kind: Kind, data: bytes) -> EncodedImage:
        """For a question that has not begun: by the release that is current now, and stays until it is done."""
        with self._releases.bind() as calls:
            return await self._images.encode(kind, [data], self.session_id, calls)

    def _start(self, encoding: Coroutine[Any, Any, EncodedImage], turn: tracing.Span) -> asyncio.Task[EncodedImage]:
        """`turn`: the span of the turn that it belongs to."""
        image = asyncio.create_task(encoding, context=tracing.within(turn))
        image.add_done_callback(functools.partial(self._image_done, self._question_id))
        return image

    def _image_done(self, question_id: str, image: asyncio.Task) -> None:
        """A picture of the draft that cannot be read is told at once; one of a turn fails the turn."""
        if image.cancelled() or image.exception() is None or image not in self._draft.images:
            return
        self._draft.images.remove(image)
        self._refuse_part(question_id, image.exception())

    def _refuse_part(self, question_id: str, error: Exception) -> None:
        """A part that belongs to no named question is left out; otherwise the question is refused with it."""
        if question_id and self._turns.listening and self._turn.question_id in ("", question_id):
            self._turn.fail(error)
            return
        self._emit(failed(error), question_id)
        if question_id:
            self._draft.refuse(question_id, error)

    def _emit(self, body: Body, question_id: str = "") -> None:
        self.outbox.put_now(Event(body, question_id=question_id))


def _turn_of(item_id: str) -> str:
    """The turn that made an item with this id, if a turn did."""
    return item_id.removeprefix("item_").rpartition("_")[0]


def _refuse(message: str) -> ServiceError:
    return ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
