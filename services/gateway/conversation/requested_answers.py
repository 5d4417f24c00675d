"""Answers that the client asks for on purpose: to the items of its session, to others beside it, or to silence."""

from __future__ import annotations

import secrets

import grpc

from services.gateway.conversation.questions import Questions
from services.gateway.conversation.request import TurnRequest
from services.gateway.conversation.tools import check_tools
from services.gateway.conversation.turn import TurnTools
from services.gateway.conversation.turns import Turns
from services.gateway.events import Event, ItemCreated, SilenceNoticed
from services.gateway.events.items import Item, ItemPart, question_item_id
from services.rpc.errors import ServiceError

MAX_BESIDE = 4  # answers at once that are not part of the session


class RequestedAnswers:
    def __init__(self, turns: Turns, questions: Questions, tools: TurnTools):
        self._turns, self._questions, self._tools = turns, questions, tools

    async def begin(self, request: TurnRequest) -> str:
        """Answers the items of the session, or those that the request names. Returns the id of the turn.

        Raises `ServiceError` FAILED_PRECONDITION while another answer is being made, and for tools that cannot be.
        """
        check_tools(request.config, self._tools.settings)
        if not request.kept:
            if len(self._turns.beside) >= MAX_BESIDE:
                raise ServiceError.at_capacity("answers beside the session", MAX_BESIDE)
            return self._turns.begin_beside(self._questions.maker(request)).ask_at_once()
        await self._turns.wait_for_cancelled()  # clients are told of one answer after the other
        if self._turns.active is not None:
            raise ServiceError(grpc.StatusCode.FAILED_PRECONDITION, "an answer is being made already")
        self._questions.unanswered = False
        if self._turns.listening:  # what is being said goes on, and is not answered
            await self._turns.newest.only_listen()
            return self._turns.begin_beside(self._questions.maker(request)).ask_at_once()
        return self._turns.begin(self._questions.maker(request), detected=False, interruption="never").ask_at_once()

    async def answer_silence(self, request: TurnRequest, session_id: str, seconds: float, end_ms: int) -> None:
        """Nobody has said anything for so long, until `end_ms`: the silence becomes an item, and is answered."""
        if self._turns.listening or self._turns.active is not None:
            return
        turn_id = secrets.token_urlsafe(9)
        item = Item(id=question_item_id(turn_id), role="user", turn_id=turn_id, parts=[ItemPart(kind="speech")])
        previous = await self._tools.store.items.insert(session_id, item)
        silence = SilenceNoticed(max(0, end_ms - round(1000 * seconds)), end_ms)
        for body in (silence, ItemCreated(item, previous)):
            self._tools.outbox.put_now(Event(body, turn_id))
        await self.begin(request)

    def cancel(self, turn_id: str = "") -> bool:
        """Stops an answer; empty: that of the session. False where none is being made."""
        turn = self._turns.find(turn_id) if turn_id else self._turns.active
        if turn is None or turn.over or not turn.asked or not turn.request.answers:
            return False
        turn.cancel_self()
        return True
