"""Messages on the wire → the pieces and placeholders of a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer

from parley.config import LanguageConfig
from parley.text.prompt import MediaSegment, PromptWriter, Segment
from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import tensor_pb2, tool_pb2
from services.llm_core.pieces import EmbeddingRef, Piece, Placeholder
from services.llm_core.position_keys import position_keys
from services.llm_core.tools import read_object
from services.rpc import tensors

ROLES = {pb.Message.ROLE_SYSTEM: "system", pb.Message.ROLE_USER: "user", pb.Message.ROLE_ASSISTANT: "assistant"}
MAX_NAME_LENGTH = 128  # characters of a reference's weights or hash


class PromptReader:
    """Reads what arrives for one model. Raises `ValueError` for what the model cannot read."""

    def __init__(self, config: LanguageConfig, tokenizer: Tokenizer, speech_prompt: torch.Tensor, dtype: torch.dtype):
        """speech_prompt: [length, width], read before every utterance. `dtype`: what the model computes in."""
        self.writer = PromptWriter.of(config, tokenizer)
        self._width = config.hidden_size
        self._dtype = dtype
        prompt = speech_prompt.detach().to("cpu", dtype)
        self._speech_prompt = Piece(position_keys(prompt), prompt)

    def history(
        self, messages: Sequence[pb.Message], max_tokens: int = 0, tools: Sequence[dict[str, Any]] = ()
    ) -> tuple[list[Piece | Placeholder], int]:
        """(system prompt, history and the opening of the user's new message; number of messages left out).

        `max_tokens`: of the history without the system prompt; the oldest messages beyond it are left out, so that it
        begins with a user's question. 0: everything is read. `tools`: as `PromptWriter.render` takes them.
        """
        if max_tokens < 0:
            raise ValueError(f"max_history_tokens is {max_tokens}; it must be 0 (everything is read) or more")
        read = [self._message(message, number) for number, message in enumerate(messages)]
        kept = self._newest_within(read, max_tokens) if max_tokens else read
        return self._items(self.writer.open_user(kept, tools)), len(read) - len(kept)

    def part(self, part: pb.Part, after: str = "") -> list[Piece | Placeholder]:
        """The next part of the user's message; `after`: what the part before it was, as the field is called."""
        if part.WhichOneof("part") != "speech":
            return self._items(self.writer.parts([self._part(part)], after))
        speech = self.embeddings(part.speech)
        if not speech:
            return []
        if after == "speech":
            return [speech]
        opening = self._items(self.writer.parts([{"type": "audio", "audio": self._speech_prompt}], after))
        return [*opening, speech]

    def closing(self) -> list[Piece | Placeholder]:
        """The end of the user's message and the opening of the answer."""
        return self._items(self.writer.close_user_open_assistant())

    def embeddings(self, tensor: tensor_pb2.Tensor) -> Piece:
        """Embeddings on the CPU in the model's dtype. Takes milliseconds for a picture: not for an event loop."""
        if tensor.dtype == "int64":
            raise ValueError("embeddings are int64; send float32, float16 or bfloat16")
        try:
            embeddings = tensors.to_torch(tensor, (None, self._width), dtype=self._dtype)
        except ValueError as error:
            raise ValueError(f"embeddings: {error}; the language model's width is {self._width}") from None
        # Infinities and NaN reach the extremes; `isfinite` on every element would take ten times as long.
        if len(embeddings) and not torch.stack(embeddings.aminmax()).isfinite().all():
            raise ValueError(f"embeddings hold values that are not finite in {str(self._dtype)[6:]}")
        return Piece(position_keys(embeddings), embeddings)

    def _newest_within(self, messages: list[dict], max_tokens: int) -> list[dict]:
        """The system message, and the newest of the others that fit, from a question on.

        Calls whose outputs are to come belong to the question before them, which is kept in any case.
        """
        first = int(bool(messages) and messages[0]["role"] == "system")
        questions = [index for index in range(first, len(messages)) if _is_question(messages[index])]
        called = bool(messages) and bool(messages[-1].get("tool_calls"))
        start = questions[-1] if called and questions else len(messages)
        left = max_tokens
        for index in reversed(range(first, len(messages))):
            previous = messages[index - 1] if index else None
            left -= sum(map(len, self._items(self.writer.message(messages[index], previous))))
            if left < 0:
                break
            if _is_question(messages[index]):
                start = min(start, index)
        return messages[:first] + messages[start:]

    def _message(self, message: pb.Message, number: int) -> dict:
        if message.role not in ROLES:
            raise ValueError(f"message {number} has no role; use one of {', '.join(ROLES.values())}")
        if message.role == pb.Message.ROLE_SYSTEM and number:
            raise ValueError(f"message {number}: a system message comes first or not at all")
        try:
            content = {"role": ROLES[message.role], "content": [self._part(part) for part in message.parts]}
            return content | ({"tool_calls": list(map(_call, message.calls))} if message.calls else {})
        except ValueError as error:
            raise ValueError(f"message {number}: {error}") from None

    def _part(self, part: pb.Part) -> dict:
        """A part as `PromptWriter` reads it, with a placeholder for embeddings."""
        match part.WhichOneof("part"):
            case "text":
                return {"type": "text", "text": part.text}
            case "image":
                return {"type": "image", "image": self._placeholder(part.image, part.fallback)}
            case "utterance":
                return {
                    "type": "audio",
                    "audio": self._placeholder(part.utterance, part.fallback, (self._speech_prompt,)),
                }
            case "outputs":
                return {"type": "outputs", "outputs": list(part.outputs.outputs)}
            case "speech":
                raise ValueError("speech of an earlier message is sent by reference, as `utterance`")
        raise ValueError("a part is empty; it holds text, an image or speech")

    def _placeholder(self, ref: tensor_pb2.EmbeddingRef, fallback: str, before: tuple[Piece, ...] = ()) -> Placeholder:
        return Placeholder(read_ref(ref), before, self.writer.text(fallback))

    def _items(self, segments: Iterable[Segment]) -> list[Piece | Placeholder]:
        items = [s.content if isinstance(s, MediaSegment) else Piece(s.ids) for s in segments]
        return [item for item in items if len(item)]


def _is_question(message: dict) -> bool:
    """Whether a prompt may begin with it: outputs mean nothing without their calls."""
    parts = message["content"]
    return message["role"] == "user" and not (parts and parts[0]["type"] == "outputs")


def _call(call: tool_pb2.FunctionCall) -> dict[str, str]:
    read_object(call.arguments, f"the arguments of a call of {call.name!r}")
    return {"name": call.name, "arguments": call.arguments}


def read_ref(ref: tensor_pb2.EmbeddingRef) -> EmbeddingRef:
    """Raises `ValueError` for a reference that names nothing."""
    for field in ("weights", "hash"):
        if not 0 < len(getattr(ref, field)) <= MAX_NAME_LENGTH:
            raise ValueError(f"a reference's {field} has {len(getattr(ref, field))} characters; 1 to {MAX_NAME_LENGTH}")
    if ref.length < 1:
        raise ValueError(f"a reference states {ref.length} embeddings; there is at least one")
    return EmbeddingRef(ref.weights, ref.hash, ref.length)
