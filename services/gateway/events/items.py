"""Items: the entries of a session's history, as they are kept and as clients see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Ref(BaseModel):
    """Names embeddings by the weights that made them and the content that they were made of."""

    model_config = ConfigDict(frozen=True)

    weights: str
    hash: str  # SHA-256 of the content, hexadecimal
    length: int  # number of embeddings


class ItemPart(BaseModel):
    """One part of a message."""

    kind: Literal["text", "image", "speech"]
    text: str = ""  # of speech: its transcript
    ref: Ref | None = None  # of an image or speech


class Item(BaseModel):
    """A message, a function call, or the output of a call.

    A spoken answer carries `marks`, pairs of (samples since its first, characters spoken by then): when the client says
    how far it has played, the answer that the model is given again ends there.
    """

    id: str
    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["system", "user", "assistant", ""] = ""
    turn_id: str = ""  # empty where the client created it
    parts: list[ItemPart] = []
    marks: list[tuple[int, int]] = []
    played: int | None = None  # samples that count as played; None: all of them
    sample_rate: int = 0  # Hz, of `marks` and `played`
    ignored: bool = False  # the model does not read it: speech that was not meant for it
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str = ""

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)

    def to_json(self) -> str:
        return self.model_dump_json(exclude_defaults=True)


def question_item_id(turn_id: str) -> str:
    return f"item_{turn_id}_q"


def answer_item_id(turn_id: str) -> str:
    return f"item_{turn_id}_a"


def call_item_id(turn_id: str, number: int) -> str:
    """`number`: of the answer's calls, from 1."""
    return f"item_{turn_id}_c{number}"


def call_id(turn_id: str, number: int) -> str:
    """By which the output of a call names it. As hard to guess as the turn's id."""
    return f"call_{turn_id}_{number}"


def played_text(text: str, marks: Sequence[tuple[int, int]], samples: int | None) -> str:
    """The part of `text` that has been spoken after `samples` of its audio, whole words only. None: all of it.

    Between two marks the words are taken as evenly spoken.
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
