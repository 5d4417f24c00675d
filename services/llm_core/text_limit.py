"""How much text may come for one prompt, in bytes, so that its length is known before any of it is tokenized.

Tokenizing a megabyte takes seconds, and what it gives would not fit into the context.
"""

from __future__ import annotations

from collections.abc import Sequence

from protos.parley.v1 import language_model_pb2 as pb
from services.llm_core.settings import SERVICE
from services.rpc.limits import too_much

BYTES_A_TOKEN = 16  # more than a token has on average, in any language


class TextLimit:
    """Of one prompt."""

    def __init__(self, max_length: int):
        """`max_length`: tokens of a prompt and its answer."""
        self._max_length = max_length
        self._left = max_length * BYTES_A_TOKEN

    def add(self, size: int) -> None:
        """`size`: bytes of text that come. Raises RESOURCE_EXHAUSTED where they cannot fit into the context."""
        self._left -= size
        if self._left < 0:
            message = (
                f"the prompt has more than {BYTES_A_TOKEN} bytes of text for each of the {self._max_length} tokens of "
                "the context; shorten the history or the question"
            )
            raise too_much(SERVICE, "max_length", message)


def newest_within(messages: Sequence[pb.Message], max_tokens: int) -> list[pb.Message]:
    """The messages without the oldest of which it is sure, by their size, that `max_tokens` do not reach back to them.

    Kept in any case: the system's, and the question that calls at the end belong to. 0: all are kept.
    """
    if max_tokens <= 0:
        return list(messages)
    first = int(bool(messages) and messages[0].role == pb.Message.ROLE_SYSTEM)
    start, left = len(messages), max_tokens * BYTES_A_TOKEN
    for index in reversed(range(first, len(messages))):
        left -= messages[index].ByteSize()
        if left < 0:
            break
        start = index
    if messages and messages[-1].calls:
        start = min(start, _last_question(messages, start))
    return [*messages[:first], *messages[start:]]


def _last_question(messages: Sequence[pb.Message], otherwise: int) -> int:
    """Its place."""
    asked = (m.role == pb.Message.ROLE_USER and not (m.parts and m.parts[0].HasField("outputs")) for m in messages)
    return max((index for index, is_question in enumerate(asked) if is_question), default=otherwise)
