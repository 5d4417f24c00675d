"""The turns that an earlier connection of a session has left: with a resume the newest goes on, all others end."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import grpc
from pydantic import ValidationError

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.conversation.answer import Answer
from services.gateway.conversation.asked import Asked, AskedQuestion
from services.gateway.conversation.continuation import Continuation
from services.gateway.conversation.delivery import Delivery
from services.gateway.conversation.told import Told, name_of
from services.gateway.conversation.turn import Turn, TurnTools, failed
from services.gateway.events import Body, Event, ItemCreated, SessionReady, TurnDone
from services.gateway.events.items import Item, played_text, question_item_id
from services.gateway.events.session import Session
from services.gateway.settings import MediaSettings
from services.rpc.errors import ServiceError
from services.telemetry import logs, metrics, tracing

log = logs.get_logger(__name__)


@dataclass(frozen=True)
class LeftTurn:
    told: Told
    asked: Asked | None = None  # None: its question was not complete

    @property
    def id(self) -> str:
        return self.told.turn_id

    def items(self) -> list[Item]:
        """As history has them: the question, and what was delivered of the answer, as an interrupted one."""
        if self.asked is None or self.told.state not in ("speech", "text"):
            return []
        question = Item(id=question_item_id(self.id), role="user", turn_id=self.id, parts=self.asked.items)
        config = self.asked.config
        told = Answer.of(self.told, not config.text_only, config.turn_taking.items_first)
        answer = told.items(self.id, whole=False)
        return [*([question] if self.asked.items else []), *answer]


class Takeover:
    """Used once, when a connection has opened its session and has the event log."""

    def __init__(self, session: Session, tools: TurnTools, delivery: Delivery, sample_rate: int, media: MediaSettings):
        """`sample_rate`: Hz, of questions."""
        self._session, self._tools, self._delivery = session, tools, delivery
        self._sample_rate, self._media = sample_rate, media

    async def settle(self) -> list[Item]:
        """The session was opened without a resume: what was delivered is kept. Returns the items that this added."""
        left = await self._left()
        items = [created.item for turn in left if not turn.told.over for created in await self._write(turn)]
        if left:
            await self._delivery.forget([turn.id for turn in left])
        return items

    async def resume(self, after: int, ready: SessionReady) -> Callable[..., Turn] | None:
        """Delivers `ready` and all that followed the event `after`. Returns what makes the turn that goes on.

        Raises OUT_OF_RANGE where some of the events are gone.
        """
        missed = await self._tools.store.events.read(self._session.id, after)
        left = await self._left()
        running = [turn for turn in left if not turn.told.over]
        newest = next((turn for turn in reversed(running) if turn.asked is not None), None)
        make, refusal = None, None
        if newest is not None:
            try:
                make = await self._maker(newest)
            except ServiceError as error:
                refusal = error
        ready = replace(ready, running_turn_id=newest.id if make is not None else "")
        events = _repeated(left, missed, after) + [replace(event, logged=True) for event in missed]
        ready = replace(ready, last_item_id=await self._last_item_before(events))
        self._tools.outbox.replay([Event(ready, sequence=after, logged=True), *events])
        for turn in left:
            self._delivery.adopt(turn.told)
        for turn in running:
            if turn is not newest or make is None:
                await self._end(turn, refusal if turn is newest else None)
        if make is None:
            await self._free()
        return make

    async def _free(self) -> None:
        """The lease of a gateway that has died, or is cut off, would keep the next question waiting."""
        async with self._tools.store.leases.lease(self._session.id, take=True):
            pass

    async def _last_item_before(self, events: Sequence[Event]) -> str:
        """Id of the newest item that these events do not tell of."""
        told = {event.body.item.id for event in events if isinstance(event.body, ItemCreated)}
        ids = [item.id for item in await self._tools.store.items.list(self._session.id)]
        return next((item_id for item_id in reversed(ids) if item_id not in told), "")

    async def _left(self) -> list[LeftTurn]:
        """Oldest first."""
        fields = await self._tools.store.running_turns.fields(self._session.id)
        ids = dict.fromkeys(name.partition(":")[2] for name in fields)
        turns = [_left_turn(turn_id, fields.get(f"told:{turn_id}"), fields.get(f"asked:{turn_id}")) for turn_id in ids]
        return sorted(turns, key=lambda turn: turn.told.since or float("inf"))  # without an event yet: the newest

    async def _maker(self, turn: LeftTurn) -> Callable[..., Turn]:
        """Raises ABORTED where the same answer cannot be made."""
        speech = await self._speech(turn.asked)
        make = functools.partial(
            Turn,
            self._session,
            AskedQuestion(turn.asked, speech, self._sample_rate, self._media),
            turn.told.question_id or turn.asked.question_id,
            request=turn.asked.request,
            span=tracing.start_trace("turn"),
            tools=self._tools,
        )
        prompt = turn.asked.prompt(speech)
        prompt.beginning = turn.told.tokens
        return functools.partial(make, continuation=Continuation(copy.deepcopy(turn.told), prompt))

    async def _speech(self, asked: Asked) -> Tensor | None:
        """The embeddings of the question's speech. Raises ABORTED where an embedding or the weights are gone."""
        calls = self._tools.releases.current
        for service, weights in asked.weights.items():
            if (await calls.describe(service)).weights != weights:
                raise _cannot("the model has been replaced since")
        kept = await self._tools.store.embeddings.get(asked.refs)
        if set(asked.refs) - set(kept):
            raise _cannot("its question is not kept any more")
        return Tensor.FromString(kept[asked.utterance]) if asked.utterance is not None else None

    async def _end(self, turn: LeftTurn, error: ServiceError | None) -> None:
        """Tells how it ended."""
        created = await self._write(turn)
        answers = (each.item for each in created if each.item.role == "assistant")
        text = "".join(played_text(answer.text, answer.marks, answer.played) for answer in answers)
        reason = "cancelled" if error is None else "failed"
        bodies: list[Body] = [body for body in created if name_of(body) not in turn.told.bodies]
        bodies += [] if error is None else [failed(error)]
        for body in [*bodies, TurnDone(reason, text)]:
            self._tools.outbox.put_now(Event(body, turn.id, turn.told.question_id))
        metrics.TURNS.labels(reason).inc()
        log.info("a turn that was left has ended", turn_id=turn.id, reason=reason)

    async def _write(self, turn: LeftTurn) -> list[ItemCreated]:
        """Adds its items to the session."""
        created, items = [], turn.items()
        if items:
            async with self._tools.store.leases.lease(self._session.id, take=True) as lease:
                previous = await self._tools.store.items.append(lease, items)
            for item in items:
                created.append(ItemCreated(item, previous))
                previous = item.id
        return created


def _left_turn(turn_id: str, told: bytes | None, asked: bytes | None) -> LeftTurn:
    left = Told.from_json(turn_id, told) if told else Told(turn_id)
    try:
        return LeftTurn(left, Asked.model_validate_json(asked) if asked else None)
    except ValidationError:  # of another version
        return LeftTurn(left)


def _repeated(left: Sequence[LeftTurn], missed: Sequence[Event], after: int) -> list[Event]:
    """For APIs: what came before, of the turns that go on with what was missed or later."""
    events = []
    for turn in left:
        later = [event.body for event in missed if event.turn_id == turn.id]
        if later or not turn.told.over:
            for body in turn.told.before(later):
                events.append(Event(body, turn.id, turn.told.question_id, after, logged=True, repeated=True))
    return events


def _cannot(reason: str) -> ServiceError:
    message = f"the answer that was cut off cannot go on: {reason}; ask again"
    return ServiceError(grpc.StatusCode.ABORTED, message, retry_after=0.5)
