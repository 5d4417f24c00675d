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
An assistant's message may carry "state", and "tool_calls": [{"name": str, "arguments": JSON}, …]. What these return is
a part of a user's message, {"type": "outputs", "outputs": [str, …]}; other parts beside it are a message of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer

from parley.config import STATES, ChatFormat, LanguageConfig
from parley.text.tools import TAGS, Tag, answer_pieces, output_pieces, system_pieces

LONG_TEXT = 2000  # characters, that take some milliseconds to tokenize
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
        added = tokenizer.get_added_tokens_decoder()
        self._special_ids = {number for number, token in added.items() if token.special}
        self.tag_ids = {Tag(token.content): number for number, token in added.items() if token.content in TAGS}
        self._plain = without_added_tokens(tokenizer)
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
        if len(text) < LONG_TEXT:
            return self._plain.encode(text, add_special_tokens=False).ids
        return self._plain.encode_batch_fast([text], add_special_tokens=False)[0].ids  # other threads run meanwhile

    @functools.cached_property
    def writes_calls(self) -> bool:
        """Whether the tokenizer can write a function call as it is."""
        call = "".join(answer_pieces("", [{"name": "A_b-1", "arguments": '{"x": [1.5, "É"]}'}]))
        return self._plain.decode(self.text(call)) == call

    def ids(self, pieces: Iterable[str]) -> list[int]:
        """Text with tags → ids. A tag that the tokenizer lacks is ordinary text."""
        ids, run = [], ""
        for piece in pieces:
            if isinstance(piece, Tag) and piece in self.tag_ids:
                ids += [*self.text(run), self.tag_ids[piece]]
                run = ""
            else:
                run += piece
        return ids + self.text(run)

    def decode(self, ids: list[int]) -> str:
        """Ids → text; special tokens are left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def render(
        self,
        messages: list[dict[str, Any]],
        open_assistant: bool = False,
        tools: Sequence[dict[str, Any]] = (),
    ) -> list[Segment]:
        """Whole messages → segments; with `open_assistant` the next message is the model's.

        `tools`: functions that it may call, as `system_pieces` takes them; they stand in the system message.
        Raises `ValueError` naming the message and what is wrong with it.
        """
        segments: list[Segment] = []
        if not (messages and messages[0].get("role") == "system") and (self.chat.default_system or tools):
            segments += self.message({"role": "system", "content": self.chat.default_system}, None, tools)
        previous = None
        for number, message in enumerate(messages):
            try:
                if message.get("role") == "system" and number:
                    raise ValueError("a system message comes first or not at all")
                segments += self.message(message, previous, tools)
            except ValueError as error:
                raise ValueError(f"message {number}: {error}") from None
            previous = message
        if open_assistant:
            segments.append(TextSegment(self._assistant_open))
        return join(segments)

    def open_user(self, history: list[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> list[Segment]:
        """All that comes before the user's new message, and its opening."""
        return join([*self.render(history, tools=tools), TextSegment(self._user_open)])

    def parts(self, content: str | list[dict[str, Any]], after: str = "") -> list[Segment]:
        """The next parts of an open message; `after`: the type of the part before them.

        Raises `ValueError` for a part of no known type.
        """
        segments: list[Segment] = []
        for kind, value in _read(content):
            if after and (kind == "outputs") != (after == "outputs"):  # outputs are a message of their own
                segments.append(TextSegment(self._close + self._user_open))
            if kind in MEDIA:
                segments.append(MediaSegment(MEDIA[kind], value))
            else:
                segments.append(TextSegment(self.ids(output_pieces(value) if kind == "outputs" else [value])))
            after = kind
        return segments

    def close_user_open_assistant(self) -> list[Segment]:
        """The end of the user's message and the opening of the answer: after its last id the state is read."""
        return [TextSegment(self._close + self._assistant_open)]

    def message(
        self,
        message: dict[str, Any],
        previous: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> list[Segment]:
        """One whole message; `previous`: the one before it. Raises `ValueError` for what is wrong with it."""
        role, content = message.get("role"), message.get("content", "")
        calls = message.get("tool_calls", ())
        if calls and role != "assistant":
            raise ValueError(f"only answers make calls; this message is of {role!r}")
        if role == "user":
            return [TextSegment(self._user_open), *self.parts(content), TextSegment(self._close)]
        text = _only_text(content, role)
        if role == "system":
            return [TextSegment(self._system_open + self.ids(system_pieces(text, tools)) + self._close)]
        if role != "assistant":
            raise ValueError(f"no role {role!r}; there are: system, user, assistant")
        ids = self._state_prefix(message, previous) + self.ids(answer_pieces(text, calls)) + self._close[:1]
        return [TextSegment(self._assistant_open), TextSegment(ids, answer=True), TextSegment(self._close[1:])]

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
        if number not in self._special_ids:
            raise ValueError(f"the tokenizer has no special token {token!r}, which the chat format needs")
        return number

    def _markup(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        if not ids:
            raise ValueError("a chat format has no empty markup")
        self._special(self.tokenizer.id_to_token(ids[0]))  # else a user's text could open a message
        return ids


def without_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that reads the names of added tokens as ordinary text, also of those that are not called special."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    added = tokenizer.get_added_tokens_decoder().values()
    copy.add_special_tokens([AddedToken(token.content, special=True, normalized=False) for token in added])
    copy.encode_special_tokens = True  # which means: as ordinary text
    return copy


def _read(content: str | list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """(type, content) of each part. Raises `ValueError` for a part of no known type."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise ValueError(f"content is {type(content).__name__}; it is text or a list of parts")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        value = part.get(kind) if kind in ("text", "outputs", *MEDIA) else None
        if value is None or (kind == "text" and not isinstance(value, str)):
            known = ", ".join(("text", *MEDIA, "outputs"))
            raise ValueError(f'a part is {{"type": T, T: content}} with T one of {known}; here T is {kind!r}')
        yield kind, value


def _only_text(content: str | list[dict[str, Any]], role: str) -> str:
    parts = list(_read(content))
    if any(kind != "text" for kind, _ in parts):
        raise ValueError(f"only user messages hold images, video, audio or outputs; this one is of {role!r}")
    return "".join(value for _, value in parts)


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
