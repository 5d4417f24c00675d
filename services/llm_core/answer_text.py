"""The text of one answer as its tokens come: what of it is sent, and when the answer ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from services.llm_core.call_matcher import CallMatcher
from services.llm_core.requests import FinishReason, GenerationRequest, Token
from services.llm_core.stop_strings import StopStringMatcher


@dataclass(frozen=True)
class AnswerFormat:
    """How a model's answers are read."""

    tokenizer: Tokenizer
    stop_ids: frozenset[int]  # tokens that end an answer
    tags: Mapping[int, str] = field(default_factory=dict)  # the tokens that are a tag of function calls, with its text


class AnswerText:
    def __init__(self, request: GenerationRequest, answer_format: AnswerFormat, max_tokens: int):
        """`max_tokens`: of any answer."""
        self._format = answer_format
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._calls = CallMatcher(request.calls)
        self._stop = StopStringMatcher(request.sampling.stop)
        self._sent: list[str] = []
        self.limit = min(request.sampling.max_tokens or max_tokens, max_tokens)
        self.tokens = 0
        self.finish_reason: FinishReason | None = None  # set by the token that ends the answer

    @property
    def sent(self) -> str:
        """What of the text was sent, without calls."""
        return "".join(self._sent)

    def add(self, token: int) -> list[Token]:
        """The tokens that may be sent now."""
        if token in self._format.stop_ids:
            self.finish_reason = "stop"
            return []
        self.tokens += 1
        text = self._decoder.step(self._format.tokenizer, token) or ""
        out, stopped = self._without_stop_strings(self._calls.push(token, self._format.tags.get(token, text)))
        if stopped or self._calls.enough:
            self._calls.drop()
            self.finish_reason = "stop"
        elif self.tokens >= self.limit:
            self.finish_reason = "length"
        return out

    def flush(self) -> list[Token]:
        """The tokens of a complete answer that were withheld as a possible tag or stop string."""
        out, stopped = self._without_stop_strings(self._calls.flush())
        return out if stopped else out + self._of_text(self._stop.flush())

    def _without_stop_strings(self, tokens: Iterable[Token]) -> tuple[list[Token], bool]:
        """Whether a stop string is complete. They are looked for in the text, not in calls."""
        out: list[Token] = []
        for token in tokens:
            if token.call:
                out += [*self._of_text(self._stop.flush()), token]
                continue
            text, stopped = self._stop.push(token.id, token.text)
            out += self._of_text(text)
            if stopped:
                return out, True
        return out, False

    def _of_text(self, tokens: Iterable[tuple[int, str]]) -> list[Token]:
        out = [Token(number, text) for number, text in tokens]
        self._sent += [token.text for token in out]
        return out
