"""`Sample`: one conversation to learn from, as every data set gives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SAMPLE_RATE = 16_000  # Hz, of audio in a sample


@dataclass
class Sample:
    """One conversation to learn from.

    `messages` are OpenAI-like: {"role", "content"}, content a string or a list of parts {"type": T, T: X} with T text,
    image, video or audio. X is a path, a PIL picture, a list of PIL frames or float32 audio at `SAMPLE_RATE`; or the
    bytes of a file, whose part may say in "name" where they are from. The "state" of an assistant message, if it has
    none, follows from how it was asked (`turn_states`). "complete" says of an answer to speech whether its
    question is complete or was cut short, where that is to be learned; of the answer to one that was cut short no text
    is learned.
    """

    messages: list[dict]
    task: str  # where it comes from or what is asked: "caption", "question", "small_talk", a record's `set`
    state: str = "text"  # of the last answer: "speech", "text" or "nothing"
    about: dict[str, Any] = field(default_factory=dict)  # kind, voice, words a minute, id: for reports only


def parts(content: str | list[dict]) -> list[dict]:
    """A message's content as a list of parts."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def turn_states(messages: list[dict]) -> list[str]:
    """The state of every assistant message, in order: its own "state", else "speech" if it was asked by audio."""
    states, asked = [], "text"
    for message in messages:
        if message["role"] == "user":
            asked = "speech" if any(part["type"] == "audio" for part in parts(message["content"])) else "text"
        elif message["role"] == "assistant":
            states.append(message.get("state", asked))
    return states


def completeness(messages: list[dict]) -> list[bool | None]:
    """Of every assistant message, in order: its "complete", None where it does not say."""
    return [message.get("complete") for message in messages if message["role"] == "assistant"]


def text_of(message: dict) -> str:
    """The text parts of a message, joined by a space."""
    return " ".join(part["text"] for part in parts(message["content"]) if part["type"] == "text")
