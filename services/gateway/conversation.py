"""One client's stream: its events in order, which question they belong to, and who interrupts whom.

Notable points:
- What arrives before a question (pictures, text, camera frames) waits in a draft and belongs to the next one; pictures
  are encoded at once.
- A new question, spoken or written, cancels the answer that is being given; of speech that was only overheard, the
  state decides, and until then the answer is held.
- A refused event is told with an `ErrorEvent`; the stream goes on. Where it was part of a named question, that question
  is refused as a whole, whenever the refusal came. A named question always ends with a `done`.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections import deque

import grpc

from protos.parley.v1 import conversation_pb2 as wire
from services.gateway.audio import SAMPLE_RATE, InputAudio
from services.gateway.embeddings import Embeddings
from services.gateway.outbox import Outbox
from services.gateway.pictures import Encoded, Pictures
from services.gateway.session import Session, SessionConfig, SessionStore
from services.gateway.settings import GatewaySettings
from services.gateway.turn import Turn, TurnConfig, error_event
from services.gateway.upstream import Upstream
from services.gateway.vad import VoiceActivity
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much
from services.telemetry import logs

log = logs.get_logger(__name__)

_TURN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_QUESTION_ID = 64  # characters
_PARTS = ("audio", "image", "video", "frame", "text")  # of a question
_ENDS = ("end_of_audio", "respond")


def _refuse(message: str) -> ServiceError:
    return ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)


class Conversation:
    def __init__(self, store: SessionStore, upstream: Upstream, settings: GatewaySettings):
        self.outbox = Outbox(settings.outbox_events)
        self.last_event = time.monotonic()
        self._store, self._upstream, self._settings = store, upstream, settings
        self._embeddings = Embeddings(store, upstream)
        self._pictures = Pictures(self._embeddings, upstream, settings)
        self._turn: Turn | None = None  # the newest
        self._turns: set[asyncio.Task] = set()
        self._events = 0  # since the last turn ended
        self._draft_pictures: list[asyncio.Task[Encoded]] = []
        self._draft_texts: list[str] = []
        self._draft_refusal: tuple[str, Exception] | None = None  # of a part: the question's name, why
        self._question_id = ""  # of the event at hand
        self._frames: deque[bytes] = deque(maxlen=settings.max_frames)

    async def configure(self, configure: wire.Configure) -> None:
        """Opens the session and says so. Raises `ServiceError`; the stream cannot go on then."""
        limit = self._settings.max_text_chars
        if len(configure.instructions) > limit:
            message = f"instructions of {len(configure.instructions)} characters are above the limit of {limit}"
            raise too_much("gateway", "max_text_chars", message)
        if configure.turn_detection not in wire.Configure.TurnDetection.values():
            raise _refuse(f"turn_detection {configure.turn_detection} is unknown; 0 is server_vad, 1 manual")
        self._input = InputAudio(configure.input_sample_rate or SAMPLE_RATE, self._settings.max_chunk_seconds)
        manual = configure.turn_detection == wire.Configure.TURN_DETECTION_MANUAL
        self._vad = None if manual else VoiceActivity(self._settings)
        self._config = TurnConfig(configure.sampling, configure.text_only)
        wanted = SessionConfig(instructions=configure.instructions, voice=list(configure.voice))
        if configure.session_id:
            self._session: Session = await self._store.resume(configure.session_id, wanted)
        else:
            self._session = await self._store.create(wanted)
        logs.bind(self._session.id)
        ready = wire.SessionReady(
            session_id=self._session.id,
            resumed=bool(configure.session_id),
            items=self._session.items,
            output_sample_rate=self._settings.output_sample_rate,
        )
        self.outbox.put_now(wire.ServerEvent(session=ready))

    @property
    def busy(self) -> bool:
        """A turn runs."""
        return bool(self._turns)

    async def handle(self, event: wire.ClientEvent) -> None:
        """One event of the client. A bad one is answered with an `ErrorEvent`; only a flood raises."""
        self.last_event = time.monotonic()
        kind = event.WhichOneof("event")
        self._events += 1
        if self._events > self._settings.max_turn_events:
            message = f"more than {self._settings.max_turn_events} events came without an end of a turn"
            raise too_much("gateway", "max_turn_events", message)
        self._question_id = event.question_id[:_MAX_QUESTION_ID]
        try:
            if len(event.question_id) > _MAX_QUESTION_ID:
                raise _refuse(f"question_id is longer than {_MAX_QUESTION_ID} characters")
            if kind is None:
                raise _refuse("the event is empty")
            if kind == "configure":
                raise _refuse("configure comes first, and once")
            await getattr(self, f"_on_{kind}")(getattr(event, kind))
        except (ServiceError, ValueError) as error:
            if kind in _PARTS:
                self._refuse_part(self._question_id, error)
            else:
                self._tell_error(self._question_id, error)
            if kind in _ENDS and self._question_id:
                done = wire.TurnDone(reason=wire.TurnDone.REASON_FAILED)
                self.outbox.put_now(wire.ServerEvent(question_id=self._question_id, done=done))

    async def finish(self) -> None:
        """The client has closed its side: a question that is not over is given up, an answer is still given."""
        if self._turn is not None and not self._turn.asked:
            self._turn.withdraw()
        if self._turns:
            await asyncio.wait(self._turns)
        self.outbox.close()

    async def abandon(self) -> None:
        """The client is gone, or the stream must end: everything stops, what was heard is kept."""
        self._cancel_all()
        for picture in self._draft_pictures:
            picture.cancel()
        if self._turns:
            await asyncio.wait(self._turns)
        self.outbox.close()

    # Events.

    async def _on_audio(self, chunk: bytes) -> None:
        audio = self._input.feed(chunk)
        if self._vad is None:
            await self._hear(audio)
            return
        before = self._answered
        answering = before is not None and before.asked and (not before.task.done() or before.answer.being_played)
        for heard in self._vad.feed(audio, answering):
            if heard.kind == "start":
                self._turn_over_if_unasked()
                await self._hear(heard.audio)
            elif self._listening():
                await self._hear(heard.audio)
                if heard.kind == "end":
                    await self._ask()
        if not self._vad.speaking and not self._listening():
            self._events -= 1  # a silent microphone may stay open

    async def _on_end_of_audio(self, _: wire.EndOfAudio) -> None:
        if self._turn is None or self._turn.asked:
            self._input.flush()
            if self._vad is not None and self.busy and self._question_id in ("", self._turn.question_id):
                return  # the server heard the end by itself a moment earlier
            if self._draft_refused:
                await self._begin(spoken=True)
                await self._ask()
                return
            raise _refuse("end_of_audio came, but no speech since the last question")
        if not self._turn.over:
            rest = self._vad.finish() if self._vad is not None else b""
            self._turn.add_audio(rest + self._input.flush())
            await self._ask()
        else:  # it failed while it was spoken, and the client has been told
            self._turn_over_if_unasked()

    async def _on_respond(self, _: wire.Respond) -> None:
        if self._turn is not None and not self._turn.asked:
            await self._on_end_of_audio(wire.EndOfAudio())
        elif self._draft_texts or self._draft_pictures or self._draft_refused:
            await self._begin(spoken=False)
            await self._ask()
        else:
            raise _refuse("respond came, but nothing to answer since the last question")

    async def _on_text(self, text: str) -> None:
        if not text.strip():
            raise _refuse("text is empty")
        listening = self._listening()
        held = self._turn.question.characters if listening else sum(map(len, self._draft_texts))
        if held + len(text) > self._settings.max_text_chars:
            message = f"text of {held + len(text)} characters is above the limit of {self._settings.max_text_chars}"
            raise too_much("gateway", "max_text_chars", message)
        self._turn.question.texts.append(text) if listening else self._draft_texts.append(text)

    async def _on_image(self, data: bytes) -> None:
        self._add_picture("image", data)

    async def _on_video(self, data: bytes) -> None:
        self._add_picture("video", data)

    async def _on_frame(self, data: bytes) -> None:
        self._pictures.check("frame", data)
        self._frames.append(data)

    async def _on_cancel(self, _: wire.CancelTurn) -> None:
        self._cancel_all()
        self._turn_over_if_unasked()
        self._input.flush()
        if self._vad is not None:
            self._vad.finish()
        self._drop_draft()

    async def _on_played(self, played: wire.Played) -> None:
        if not _TURN_ID.fullmatch(played.turn_id) or played.samples < 0:
            raise _refuse("played names a turn and how many of its samples were played, 0 or more")
        turn = self._turn if self._turn is not None and self._turn.id == played.turn_id else None
        previous = self._turn.interrupted if self._turn is not None else None
        if previous is not None and previous.id == played.turn_id:
            turn = previous
        if turn is None or turn.kept:  # it is in the session already
            await self._store.report_heard(self._session.id, played.turn_id, played.samples)
        if turn is not None:
            turn.set_played(played.samples)

    # Turns.

    @property
    def _answered(self) -> Turn | None:
        """The newest turn, or the answer that it turned out not to interrupt."""
        turn = self._turn
        while turn is not None and turn.over and turn.interrupted is not None:
            turn = turn.interrupted
        return turn

    def _cancel_all(self) -> None:
        for turn in (self._turn, self._answered):
            if turn is not None:
                turn.cancel()

    def _listening(self) -> bool:
        return self._turn is not None and not self._turn.asked and not self._turn.over

    async def _hear(self, audio: bytes) -> None:
        """Audio of a question, which begins with it unless one is being asked."""
        if self._turn is None or self._turn.asked:
            await self._begin(spoken=True)
        if not self._turn.over:  # the rest of a question that failed is dropped until its end
            self._turn.add_audio(audio)

    async def _begin(self, spoken: bool) -> None:
        """A new question, with what the draft holds. It interrupts the answer before it.

        Of speech that the server heard by itself it is not known yet whether it is meant for us: the answer is held
        until its state is known.
        """
        before = self._answered
        contests = (
            self._settings.interruption == "state"
            and spoken
            and self._vad is not None
            and before is not None
            and before.answering
        )
        if contests:
            self.outbox.hold(before.id)
        elif before is not None:
            before.cancel()
        self._turn = turn = Turn(
            self._session,
            self._config,
            spoken=spoken,
            question_id=self._question_id,
            previous=before,
            contests=contests,
            store=self._store,
            embeddings=self._embeddings,
            upstream=self._upstream,
            settings=self._settings,
            outbox=self.outbox,
        )
        self._turns.add(turn.task)
        turn.task.add_done_callback(self._turn_ended)
        if self._frames:
            frames = list(self._frames)
            self._frames.clear()
            self._draft_pictures.append(self._encode("frames", frames))
        for picture in self._draft_pictures:
            turn.add_picture(picture)
        for text in self._draft_texts:
            turn.question.texts.append(text)
        if self._draft_refused:
            turn.fail(self._draft_refusal[1])
        self._draft_pictures, self._draft_texts, self._draft_refusal = [], [], None
        if spoken:
            turn.tell(speech_started=wire.SpeechStarted())

    async def _ask(self) -> None:
        self._turn.question_id = self._question_id or self._turn.question_id
        if self._turn.question.spoken and not self._turn.over:
            self._turn.tell(speech_stopped=wire.SpeechStopped())
        self._turn.ask()

    def _turn_ended(self, task: asyncio.Task) -> None:
        self._turns.discard(task)
        self._events = 0
        self.last_event = time.monotonic()
        if not task.cancelled() and task.exception() is not None:
            log.error("turn broke", exc_info=task.exception())

    def _turn_over_if_unasked(self) -> None:
        """The question that failed or was cancelled while it was spoken has ended; audio now is of another."""
        if self._turn is not None and not self._turn.asked and self._turn.over:
            self._turn.ask_nothing()

    # The draft.

    @property
    def _draft_refused(self) -> bool:
        """A part of the question that the event at hand names was refused."""
        return self._draft_refusal is not None and self._draft_refusal[0] == self._question_id

    def _refuse_part(self, question_id: str, error: Exception) -> None:
        """A part that belongs to no named question is left out; otherwise the question is refused with it."""
        if question_id and self._listening() and self._turn.question_id in ("", question_id):
            self._turn.fail(error)
            return
        self._tell_error(question_id, error)
        if question_id and (self._draft_refusal is None or self._draft_refusal[0] != question_id):
            self._draft_refusal = (question_id, error)

    def _add_picture(self, kind: str, data: bytes) -> None:
        self._pictures.check(kind, data)
        listening = self._listening()
        held = len(self._turn.question.pictures) if listening else len(self._draft_pictures)
        if held >= self._settings.max_pictures:
            message = f"a question may have {self._settings.max_pictures} pictures; this one is too many"
            raise too_much("gateway", "max_pictures", message)
        picture = self._encode(kind, [data])
        self._turn.add_picture(picture) if listening else self._draft_pictures.append(picture)

    def _encode(self, kind: str, files: list[bytes]) -> asyncio.Task[Encoded]:
        picture = asyncio.create_task(self._pictures.encode(kind, files, self._session.id))
        picture.add_done_callback(functools.partial(self._picture_done, self._question_id))
        return picture

    def _picture_done(self, question_id: str, picture: asyncio.Task) -> None:
        """A picture of the draft that cannot be read is told at once; one of a turn fails the turn."""
        if picture.cancelled() or picture.exception() is None or picture not in self._draft_pictures:
            return
        self._draft_pictures.remove(picture)
        self._refuse_part(question_id, picture.exception())

    def _drop_draft(self) -> None:
        for picture in self._draft_pictures:
            picture.cancel()
        self._draft_pictures, self._draft_texts, self._draft_refusal = [], [], None
        self._frames.clear()

    def _tell_error(self, question_id: str, error: Exception) -> None:
        self.outbox.put_now(wire.ServerEvent(question_id=question_id, error=error_event(error)))
