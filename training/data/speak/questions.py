"""The written questions of a dialogue, and the dialogue with speech in their places."""

from __future__ import annotations

from dataclasses import dataclass

from training.data.sample import Sample, parts


@dataclass(frozen=True)
class Question:
    """A text of a user."""

    message: int  # its number in the dialogue
    part: int  # its number in the message
    text: str


class LeftOutError(Exception):
    """A record that is not spoken, and is not wrong: the reason, for counting."""


def questions_of(sample: Sample, longest: int) -> list[Question]:
    """All texts of the user that can be spoken. Raises `LeftOutError` if there are none or one is too long."""
    found = [
        Question(number, place, part["text"])
        for number, message in enumerate(sample.messages)
        if message["role"] == "user"
        for place, part in enumerate(parts(message["content"]))
        if part["type"] == "text" and any(character.isalnum() for character in part["text"])
    ]
    if not found:
        raise LeftOutError("no written question")
    if any(len(question.text) > longest for question in found):
        raise LeftOutError(f"a question of more than {longest} characters")
    return found


def replaced(messages: list[dict], spoken: dict[tuple[int, int], dict]) -> list[dict]:
    """The messages with these parts, by (message, part), in place of their own."""
    return [
        {
            **message,
            "content": [spoken.get((number, place), part) for place, part in enumerate(parts(message["content"]))],
        }
        for number, message in enumerate(messages)
    ]


def refused(content: list[dict]) -> list[dict]:
    """A turn of this content that must not be answered."""
    return [{"role": "user", "content": content}, {"role": "assistant", "content": "", "state": "nothing"}]


def has_refusal(messages: list[dict]) -> bool:
    """Whether one of the answers is refused."""
    return any(message.get("state") == "nothing" for message in messages)
