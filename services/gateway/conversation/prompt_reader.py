"""Items → the prompt that the language model is given, with pictures that the bound release can read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from protos.parley.v1.language_model_pb2 import Message, Sampling
from services.gateway.conversation.history import to_messages
from services.gateway.conversation.tools import CHOICES, to_wire
from services.gateway.events.items import Item, Ref
from services.gateway.events.session import SessionConfig
from services.gateway.media.originals import Originals
from services.gateway.turn.generate import Prompt
from services.gateway.upstream.calls import Calls
from services.rpc.errors import ServiceError

MAX_RENEWED = 8  # pictures of the history that a turn has encoded again
WEIGHTS_SECONDS = 2.0  # that an encoder has to say what it runs
ENCODERS = {"image": "vision_encoder", "speech": "speech_encoder"}  # kind of a part → service


class PromptReader:
    """Of one turn."""

    def __init__(self, session_id: str, originals: Originals, calls: Calls, history_share: float):
        """`history_share`: of the model's context that the items may take."""
        self._session_id, self._originals = session_id, originals
        self._calls, self._history_share = calls, history_share

    def use(self, calls: Calls) -> None:
        """The turn starts again on another release."""
        self._calls = calls

    async def read(self, items: Sequence[Item], config: SessionConfig, sampling: Sampling) -> Prompt:
        """`items`: oldest first. What the encoders' weights of now have not made is made again, or its text is read.

        What the user said last opens the new message.
        """
        model = await self._calls.describe("llm_core")
        weights = await self._weights(items)
        if "image" in weights:
            items = await self._renewed(items, weights["image"])
        messages = to_messages(items, config.instructions, set(weights.values()))
        ends_with_user = bool(messages) and messages[-1].role == Message.ROLE_USER
        return Prompt(
            opening=messages.pop().parts if ends_with_user else (),
            messages=messages,
            sampling=sampling,
            max_history_tokens=max(1, int(self._history_share * model.context_length)),
            tools=list(map(to_wire, config.tools)),
            tool_choice=CHOICES[config.tool_choice],
            tool_name=config.tool_name,
            max_calls=0 if config.parallel_tool_calls else 1,
        )

    async def _weights(self, items: Sequence[Item]) -> dict[str, str]:
        """Kind of the items' media → name of the weights that its encoder runs now, where it can be reached."""
        kinds = {part.kind for item in items for part in item.parts if part.ref is not None}
        encoders = {kind: encoder for kind, encoder in ENCODERS.items() if kind in kinds}
        asked = await asyncio.gather(*map(self._weights_of, encoders.values()))
        return {kind: weights for kind, weights in zip(encoders, asked, strict=True) if weights}

    async def _weights_of(self, encoder: str) -> str:
        """Empty where the encoder has been out of reach since this gateway started: its media are left out."""
        try:
            async with asyncio.timeout(WEIGHTS_SECONDS):
                return (await self._calls.describe(encoder)).weights
        except (ServiceError, TimeoutError):
            return ""

    async def _renewed(self, items: Sequence[Item], weights: str) -> Sequence[Item]:
        """The newest pictures that other weights have encoded are encoded again, as far as their files are kept."""
        pictures = [part.ref for item in items for part in item.parts if part.kind == "image" and part.ref is not None]
        others = list(dict.fromkeys(ref for ref in reversed(pictures) if ref.weights != weights))[:MAX_RENEWED]
        found = await asyncio.gather(*(self._originals.renew(ref, self._session_id, self._calls) for ref in others))
        renewed = dict(zip(others, found, strict=True))
        return [_with_references(item, renewed) for item in items] if renewed else items


def _with_references(item: Item, renewed: Mapping[Ref, Ref | None]) -> Item:
    """With other references in place of those in `renewed`."""
    parts = [part.model_copy(update={"ref": renewed.get(part.ref) or part.ref}) for part in item.parts]
    return item.model_copy(update={"parts": parts})
