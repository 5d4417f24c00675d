"""Messages → segments: what the language model reads, in order, before it is embedded.

Notable points:
- No torch here: the trainer packs segments, the LLM core embeds them, a gateway may count them.
- Markup and text are encoded apart. Text from outside can never become a special token: `<|im_end|>` typed by a user
  is seven ordinary tokens, not the end of his message.
- An answer is a segment of its own, its closing stop token included: these are the ids the model itself writes,
  so these are the ids it is trained on. The last id before an answer is where the state is read.
- A live turn renders in pieces (`open_user`, `parts`, `close_user_open_assistant`); joined, they equal `render`.

A message is a dict as in OpenAI's chat API: {"role": "system" | "user" | "assistant", "content": str | [part, …]} with
the parts {"type": "text", "text": str}, {"type": "image", "image": X}, {"type": "video", "video": X} and
{"type": "audio", "audio": X}. X is the caller's own (pixels, a path, embeddings): it is passed on unchanged.
An assistant's message may carry "state".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer

from parley.config import STATES, ChatFormat, LanguageConfig

MEDIA = {"image": "image", "video": "video", "audio": "speech"}  # a part's type → its segment's kind


@dataclass(frozen=True, slots=True)
class TextSegment:
    """Ids the model reads; with `answer`, ids it writes."""

    ids: list[int]
    answer: bool = False


@dataclass(frozen=True, slots=True)
class MediaSegment:
    """The place of an image, a video or speech. The caller embeds it; before speech goes the model's speech prompt."""

    kind: Literal["image", "video", "speech"]
    content: Any


Segment = TextSegment | MediaSegment


class PromptWriter:
    """Renders messages in a chat format with a tokenizer. Make one and keep it: it holds a copy of the tokenizer."""

    def __init__(
        self, chat: ChatFormat, tokenizer: Tokenizer, state_tokens: tuple[str, str, str] | None = None
    ) -> None:
        """`state_tokens` are for models whose answers begin with one (`LanguageConfig.state` is `tokens`).

        Raises `ValueError` if the tokenizer lacks a special token of the chat format.
        """
        self.chat = chat
        self.tokenizer = tokenizer
        self._plain = Tokenizer.from_str(tokenizer.to_str())
        self._plain.encode_special_tokens = True  # which means: as ordinary text
        self.stop_ids = frozenset(self._special(token) for token in chat.stop)
        self._system_open, self._user_open, self._assistant_open, self._close = (
            self._markup(text) for text in (chat.system_open, chat.user_open, chat.assistant_open, chat.close)
        )
        if self._close[0] not in self.stop_ids:
            raise ValueError(f"the chat format closes with {chat.close!r}, which does not begin with a stop token")
        self.state_ids = tuple(self.text(token) for token in state_tokens) if state_tokens else None

    @classmethod
    def of(cls, language: LanguageConfig, tokenizer: Tokenizer) -> PromptWriter:
        """The writer a model's config asks for."""
        return cls(language.chat, tokenizer, language.state_tokens if language.state == "tokens" else None)

    def text(self, text: str) -> list[int]:
        """Text → ids, none of them special whatever the text is."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """Ids → text; special tokens are left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def render(self, messages: list[dict[str, Any]], open_assistant: bool = False) -> list[Segment]:
        """Whole messages → segments; with `open_assistant` the next message is the model's.

        Raises `ValueError` naming the message and what is wrong with it.
        """
        segments: list[Segment] = []
        if self.chat.default_system and not (messages and messages[0].get("role") == "system"):
            segments += self.message({"role": "system", "content": self.chat.default_system}, None)
        previous = None
        for number, message in enumerate(messages):
            try:
                if message.get("role") == "system" and number:
                    raise ValueError("a system message comes first or not at all")
                segments += self.message(message, previous)
            except ValueError as error:
                raise ValueError(f"message {number}: {error}") from None
            previous = message
        if open_assistant:
            segments.append(TextSegment(self._assistant_open))
        return join(segments)

    def open_user(self, history: list[dict[str, Any]]) -> list[Segment]:
        """All that comes before the user's new message, and its opening."""
        return join([*self.render(history), TextSegment(self._user_open)])

    def parts(self, content: str | list[dict[str, Any]]) -> list[Segment]:
        """The next parts of an open message. Raises `ValueError` for a part of no known type."""
        if isinstance(content, str):
            return [TextSegment(self.text(content))] if content else []
        if not isinstance(content, list):
            raise ValueError(f"content is {type(content).__name__}; it is text or a list of parts")
        segments: list[Segment] = []
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                segments += self.parts(part["text"])
            elif kind in MEDIA and part.get(kind) is not None:
                segments.append(MediaSegment(MEDIA[kind], part[kind]))
            else:
                known = ", ".join(("text", *MEDIA))
                raise ValueError(f'a part is {{"type": T, T: content}} with T one of {known}; here T is {kind!r}')
        return segments

    def close_user_open_assistant(self) -> list[Segment]:
        """The end of the user's message and the opening of the answer: after its last id the state is read."""
        return [TextSegment(self._close + self._assistant_open)]

    def message(self, message: dict[str, Any], previous: dict[str, Any] | None = None) -> list[Segment]:
        """One whole message; `previous`: the one before it. Raises `ValueError` for what is wrong with it."""
        role, body = message.get("role"), self.parts(message.get("content", ""))
        if role == "user":
            return [TextSegment(self._user_open), *body, TextSegment(self._close)]
        if any(isinstance(segment, MediaSegment) for segment in body):
            raise ValueError(f"only user messages hold images, video or audio; this one is of {role!r}")
        ids = [i for segment in body for i in segment.ids]
        if role == "system":
            return [TextSegment(self._system_open + ids + self._close)]
        if role != "assistant":
            raise ValueError(f"no role {role!r}; there are: system, user, assistant")
        answer = TextSegment(self._state_prefix(message, previous) + ids + self._close[:1], answer=True)
        return [TextSegment(self._assistant_open), answer, TextSegment(self._close[1:])]

    def _state_prefix(self, message: dict[str, Any], previous: dict[str, Any] | None) -> list[int]:
        """The state token an answer begins with, if the model's state is a token."""
        if self.state_ids is None:
            return []
        state = message.get("state") or ("speech" if previous and has_speech(previous) else "text")
        if state not in STATES:
            raise ValueError(f"no state {state!r}; there are: {', '.join(STATES)}")
        return self.state_ids[STATES.index(state)]

    def _special(self, token: str) -> int:
        number = self.tokenizer.token_to_id(token)
        if number is None or number in self._plain.encode(token, add_special_tokens=False).ids:
            raise ValueError(f"the tokenizer has no special token {token!r}, which the chat format needs")
        return number

    def _markup(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        if not ids:
            raise ValueError("a chat format has no empty markup")
        self._special(self.tokenizer.id_to_token(ids[0]))  # else a user's text could open a message
        return ids


def join(segments: Iterable[Segment]) -> list[Segment]:
    """The same segments, with neighbouring text of one kind made one and empty text left out."""
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else None
        if isinstance(segment, MediaSegment):
            joined.append(segment)
        elif isinstance(last, TextSegment) and last.answer == segment.answer:
            joined[-1] = TextSegment(last.ids + segment.ids, segment.answer)
        elif segment.ids:
            joined.append(segment)
    return joined


def has_speech(message: dict[str, Any]) -> bool:
    """Whether a message holds a spoken part."""
    content = message.get("content")
    return isinstance(content, list) and any(part.get("type") == "audio" for part in content)


def common_prefix(sequences: Iterable[list[int]]) -> list[int]:
    """The ids that all sequences begin with. State tokens that are several ids each differ only after these."""
    prefix: list[int] = []
    for column in zip(*sequences, strict=False):
        if len(set(column)) > 1:
            break
        prefix.append(column[0])
    return prefix
