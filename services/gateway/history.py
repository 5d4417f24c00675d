"""What a session remembers: messages as they are kept in Redis, and what of them the language model is given again.

Notable points:
- A message is plain JSON. Pictures and speech are kept as the hash of their content; the embeddings lie beside them.
- An answer is kept with its marks, pairs of (samples played, characters heard by then). When the client says how far
  it has played, the answer that is given back to the model ends there: history keeps what was heard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel

from protos.parley.v1.language_model_pb2 import Message, Part
from protos.parley.v1.tensor_pb2 import Tensor

CHARACTERS_PER_TOKEN = 3  # roughly; text is counted without a tokenizer here


class KeptPart(BaseModel):
    kind: Literal["text", "image", "speech"]
    text: str = ""  # of speech: what was heard
    hash: str = ""  # of an image or speech: under which its embeddings are kept
    vectors: int = 0


class KeptMessage(BaseModel):
    role: Literal["user", "assistant"]
    turn_id: str
    parts: list[KeptPart]
    marks: list[tuple[int, int]] = []  # of an answer: (samples since its first, characters heard by then)
    heard: int | None = None  # samples played; None: all of it, or it was only written

    def to_json(self) -> str:
        return json.dumps(self.model_dump(exclude_defaults=True), ensure_ascii=False, separators=(",", ":"))

    @property
    def tokens(self) -> int:
        """A rough count of what it takes of the model's context."""
        return sum(part.vectors or len(part.text) // CHARACTERS_PER_TOKEN + 1 for part in self.parts) + 4


def heard_text(text: str, marks: Sequence[tuple[int, int]], samples: int | None) -> str:
    """The part of `text` that had been heard after `samples` of its audio, whole words only.

    Between two marks the words are taken as evenly spoken. None: all of it.
    """
    if samples is None or not marks:
        return text
    before_samples, before_characters = 0, 0
    for end_samples, end_characters in marks:
        if samples < end_samples:
            share = (samples - before_samples) / max(1, end_samples - before_samples)
            cut = before_characters + int(share * (end_characters - before_characters))
            return _whole_words(text, max(cut, before_characters))
        before_samples, before_characters = end_samples, end_characters
    return text[:before_characters].rstrip()


def _whole_words(text: str, cut: int) -> str:
    if cut < len(text) and not text[cut].isspace():
        cut = max((i for i in range(cut) if text[i].isspace()), default=0)
    return text[:cut].rstrip()


def with_heard(messages: Sequence[KeptMessage], heard: Mapping[str, int]) -> list[KeptMessage]:
    """The messages with each answer's `heard` as reported since. `heard`: turn id → samples."""
    return [
        message.model_copy(update={"heard": heard[message.turn_id]})
        if message.role == "assistant" and message.turn_id in heard
        else message
        for message in messages
    ]


def newest_within(messages: Sequence[KeptMessage], tokens: int) -> list[KeptMessage]:
    """The newest messages that take at most `tokens`, beginning with a question."""
    kept: list[KeptMessage] = []
    for message in reversed(messages):
        tokens -= message.tokens
        if tokens < 0:
            break
        kept.append(message)
    kept.reverse()
    while kept and kept[0].role == "assistant":
        kept.pop(0)
    return kept


def to_wire(messages: Sequence[KeptMessage], instructions: str, embeddings: Mapping[str, bytes]) -> list[Message]:
    """What the language model is given: the system prompt and the messages, as they were heard.

    `embeddings`: hash → serialized `Tensor`. Where those of speech have expired, what was heard stands as text; where
    those of a picture have, the picture is left out.
    """
    wire = []
    if instructions:
        wire.append(Message(role=Message.ROLE_SYSTEM, parts=[Part(text=instructions)]))
    for message in messages:
        if message.role == "assistant":
            text = heard_text(message.parts[0].text, message.marks, message.heard)
            parts = [Part(text=text)] if text else []
            role = Message.ROLE_ASSISTANT
        else:
            parts = [wired for part in message.parts if (wired := _part(part, embeddings)) is not None]
            role = Message.ROLE_USER
        if parts:
            wire.append(Message(role=role, parts=parts))
    return wire


def _part(part: KeptPart, embeddings: Mapping[str, bytes]) -> Part | None:
    data = embeddings.get(part.hash) if part.hash else None
    if data is not None:
        tensor = Tensor.FromString(data)
        return Part(image=tensor) if part.kind == "image" else Part(speech=tensor)
    return Part(text=part.text) if part.text else None
