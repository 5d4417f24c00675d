"""One client's connection: what it sends, in order, and which turn that belongs to.

Notable points:
- What arrives before a question (pictures, text, camera frames) waits in a draft and belongs to the next one; pictures
  are encoded at once.
- A refused input is answered with `Failed`; the connection goes on. If it was part of a named question, the question is
  refused as a whole, whenever the refusal came. A named question always ends with a `TurnDone`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import grpc

from services.gateway.conversation.delivery import Delivery
from services.gateway.conversation.early_answers import EarlyAnswers
from services.gateway.conversation.interruption import InterruptionPolicy
from services.gateway.conversation.open_session import OpenSession
from services.gateway.conversation.outbox import Outbox
from services.gateway.conversation.part_encoder import PartEncoder
from services.gateway.conversation.questions import Questions
from services.gateway.conversation.request import TurnRequest
from services.gateway.conversation.requested_answers import RequestedAnswers
from services.gateway.conversation.session_items import SessionItems
from services.gateway.conversation.speech_input import SpeechInput
from services.gateway.conversation.takeover import Takeover
from services.gateway.conversation.turn import TurnTools, failed
from services.gateway.conversation.turns import Turns
from services.gateway.events import Body
from services.gateway.events.items import Item, ItemPart
from services.gateway.events.session import SessionConfig
from services.gateway.media.audio_pace import AudioPace
from services.gateway.media.detector import Detector
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.images import Images, Kind
from services.gateway.media.memory_budget import MemoryBudget
from services.gateway.media.originals import Originals
from services.gateway.media.recordings import Recordings
from services.gateway.settings import ConversationSettings, MediaSettings, VadSettings
from services.gateway.store.protocols import Store
from services.gateway.upstream.calls import Releases
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much
from services.telemetry import logs

MAX_QUESTION_ID = 64  # characters
MAX_BACKLOG = 4  # times max_unread_events, which only the audio and text of turns wait for


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
        early: EarlyAnswers,
        memory: MemoryBudget,
    ):
        self.outbox = Outbox(settings.max_unread_events)
        self.delivery = Delivery(self.outbox, store.events)
        self.last_input = time.monotonic()
        self._store, self._releases = store, releases
        self._settings, self._media, self._vad, self._detector = settings, media, vad, detector
        self._embeddings = EmbeddingWriter(store.embeddings)
        self._parts = PartEncoder(store.embeddings, settings, media)
        self._tools = TurnTools(
            releases,
            store,
            Images(store.embeddings, self._embeddings, media),
            Originals(store.embeddings, self._embeddings),
            self._embeddings,
            Recordings(store.embeddings, self._embeddings),
            self._parts,
            self.outbox,
            self.delivery,
            early,
            settings,
        )
        policy = InterruptionPolicy(settings.interruption, self.outbox, settings.hold_seconds)
        self._turns = Turns(policy, self._turn_ended)
        self._memory = memory.holder(self._held_bytes)
        self._questions = Questions(self._turns, self._tools, self._memory)
        self._requested = RequestedAnswers(self._turns, self._questions, self._tools)
        self._speech: SpeechInput | None = None  # until the session is open
        self._pace = AudioPace(media)
        self._inputs = 0  # since the last turn ended

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
        self._questions.open(self._opened, self._model_rate, self._media)
        self._speech = SpeechInput(
            self._opened, self._questions, self._turns, self._model_rate, self._media, self._vad, self._detector
        )
        self._items = SessionItems(
            self.session_id, self._store.items, self._turns, self._tools.recordings, self._settings.max_text_chars
        )
        logs.bind(self.session_id)
        await self.delivery.begin(self.session_id, resumable or after is not None)
        takeover = Takeover(self._opened.session, self._tools, self.delivery, self._model_rate, self._media)
        if after is not None:
            if (make := await takeover.resume(after, ready)) is not None:
                self._turns.begin(make, detected=False).ask()
        else:
            if session_id and (added := await takeover.settle()):
                ready = replace(ready, items=ready.items + len(added), last_item_id=added[-1].id)
            self.emit(ready)

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

        `question_id`: at most `MAX_QUESTION_ID` characters.
        `part`: the input is part of a question, which is refused with it. `end`: it ends a question.
        """
        self.count_input()
        self._questions.id = question_id
        turn = self._turns.newest
        if turn is not None and self._questions.id not in ("", turn.question_id):
            self._turns.end_failed_question()  # this is of another question
        try:
            yield
        except (ServiceError, ValueError) as error:
            if part:
                self._questions.refuse_part(self._questions.id, error)
            elif end:
                self._questions.refuse_end(error)
            else:
                self.emit(failed(error), self._questions.id)

    def count_input(self) -> None:
        """One more input has come. Raises `ServiceError` for a flood."""
        self.last_input = time.monotonic()
        self._inputs += 1
        if self._inputs > self._settings.max_turn_events:
            message = f"more than {self._settings.max_turn_events} events came without an end of a turn"
            raise too_much("gateway", "max_turn_events", message)
        if self.outbox.unread > MAX_BACKLOG * self._settings.max_unread_events:
            message = f"the client has left {self.outbox.unread} events unread; read them as they come"
            raise too_much("gateway", "max_unread_events", message)

    def emit(self, body: Body, question_id: str = "") -> None:
        """Tells the client, behind what it is being told."""
        self._questions.emit(body, question_id)

    async def finish(self) -> None:
        """The client has closed its side: a question that is not complete is given up, an answer is still given."""
        turn = self._turns.newest
        if turn is not None and not turn.asked:
            turn.cancel_self()
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
        self._questions.discard()
        await self._turns.wait()
        if self._speech is not None:
            self._speech.close()
        self.outbox.close()
        await self.delivery.close()
        await self._embeddings.wait()
        self._memory.close()

    # Inputs: the question.

    async def add_audio(self, chunk: bytes) -> None:
        await self._pace.wait(len(chunk) / 2 / self.input_rate)
        await self._speech.add(chunk)
        if self._speech.idle:
            self._inputs -= 1  # a silent microphone may stay open, and so may one whose question has failed

    async def end_audio(self) -> None:
        """The spoken question is complete."""
        await self._speech.end()

    async def commit_audio(self) -> bool:
        """As `SpeechInput.commit`."""
        return await self._speech.commit()

    async def clear_audio(self) -> None:
        """What was said of a question that is not complete is thrown away."""
        self._speech.clear()

    async def answer(self, request: TurnRequest) -> str:
        """As `RequestedAnswers.begin`."""
        return await self._requested.begin(request)

    async def answer_silence(self, request: TurnRequest, seconds: float) -> None:
        """Nobody has said anything for so long: the silence becomes an item, and is answered."""
        await self._requested.answer_silence(request, self.session_id, seconds, self._speech.heard_ms)

    async def cancel_answer(self, turn_id: str = "") -> bool:
        """Stops an answer; empty: that of the session. False where none is being made."""
        return self._requested.cancel(turn_id)

    async def respond(self) -> None:
        """Answer what has been sent."""
        if self._questions.begun is not None:
            await self.end_audio()
            return
        failed_before = self._turns.end_failed_question()
        if self._questions.written or (self._questions.unanswered and not failed_before):
            self._questions.begin(spoken=False)
            self._questions.ask()
        elif not failed_before:  # else the client has been told that the question failed
            raise _refuse("respond came, but nothing to answer since the last question")

    async def add_text(self, text: str) -> None:
        self._questions.add_text(text)

    async def add_image(self, kind: Kind, data: bytes) -> None:
        self._questions.add_image(kind, data)

    async def add_frame(self, data: bytes) -> None:
        self._questions.add_frame(data)

    # Inputs: the turn and the session.

    async def cancel(self) -> None:
        self._turns.cancel()
        self._turns.end_failed_question()
        self._speech.drop_held()
        self._questions.discard()

    async def set_played(self, turn_id: str, samples: int) -> None:
        """How far the client has played the audio of a turn."""
        if samples < 0 or not 0 < len(turn_id) <= MAX_QUESTION_ID:
            raise _refuse("played names a turn and how many of its samples were played, 0 or more")
        await self._items.set_played(turn_id, samples)

    async def update(self, changes: Mapping[str, Any]) -> None:
        """Changes the session's configuration, from the next turn on."""
        if self._turns.listening and any(changes.get(name, now) != now for name, now in self._fixed().items()):
            raise _refuse("turn_detection and input_sample_rate cannot change while a question is spoken")
        updated = await self._opened.update(changes)
        self._speech.renew()
        self.emit(updated)

    def _fixed(self) -> dict[str, Any]:
        """What of the config cannot change while a question is spoken."""
        fixed: dict[str, Any] = {"input_sample_rate": self.config.input_sample_rate}
        return fixed if self.config.turn_taking.items_first else fixed | {"manual_turns": self.config.manual_turns}

    async def encode_part(self, kind: Literal["image", "speech"], data: bytes) -> ItemPart:
        """A picture's file, or 16-bit mono at the speech encoder's rate, as a part of an item to be created."""
        self._memory.check(len(data))
        with self._releases.bind() as calls:
            if kind == "image":
                return await self._parts.encode_image(data, self.session_id, calls)
            return await self._parts.encode_audio(data, self.session_id, calls)

    async def create_item(self, item: Item, previous_item_id: str) -> None:
        self.emit(await self._items.create(item, previous_item_id))
        self._questions.unanswered = item.role == "user" or item.type == "function_call_output"

    async def retrieve_item(self, item_id: str, with_audio: bool = False) -> None:
        self.emit(await self._items.retrieve(item_id, with_audio))

    async def item(self, item_id: str) -> Item:
        """Also of an answer that is being made. Raises `ServiceError` NOT_FOUND."""
        return await self._items.get(item_id)

    async def truncate_item(self, item_id: str, samples: int) -> None:
        self.emit(await self._items.truncate(item_id, samples))

    async def delete_item(self, item_id: str) -> None:
        self.emit(await self._items.delete(item_id))

    def _held_bytes(self) -> int:
        """What this connection makes the process hold."""
        return self._questions.held_bytes + self._turns.held_bytes + self._parts.held.bytes

    def _turn_ended(self) -> None:
        self._inputs = 0
        self.last_input = time.monotonic()


def _refuse(message: str) -> ServiceError:
    return ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
