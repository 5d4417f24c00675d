"""Reads the text of a stream, as token ids or as plain text, and passes it on in clauses."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tokenizers import Tokenizer

from parley.text.clauses import Clause, ClauseSplitter
from protos.parley.v1.speech_decoder_pb2 import SynthesizeToken
from services.rpc.limits import too_much
from services.speech_decoder.engine import SERVICE, SynthesisRequest
from services.speech_decoder.incremental_tokenizer import IncrementalTokenizer, Token
from services.speech_decoder.settings import SpeechDecoderSettings


class TextReader:
    """Adds the clauses of one stream to its request and checks the limits.

    Args:
        vocab_size: of the language model.
        tokenizer: as `IncrementalTokenizer` takes it; None where the checkpoint has none.
    """

    def __init__(
        self,
        request: SynthesisRequest,
        settings: SpeechDecoderSettings,
        vocab_size: int,
        tokenizer: Tokenizer | None,
    ):
        self.request, self.settings, self.vocab_size = request, settings, vocab_size
        self.splitter = ClauseSplitter(settings.first_words, settings.later_words, settings.max_clause_tokens)
        self.tokenizer = None if tokenizer is None else IncrementalTokenizer(tokenizer)
        self.kind = ""  # "token" or "text", as the first message with text was
        self.tokens = self.characters = 0  # read

    async def run(self, messages: AsyncIterator[tuple[str, object]]) -> None:
        """Reads to the end of the stream. Raises `ValueError` or `ServiceError` for what is wrong with it."""
        async for kind, message in messages:
            if kind == "end":
                break
            for clause in self._clauses(self._read(kind, message)):
                await self.request.backpressure()
                self.request.add_clause(clause)
        rest = self._clauses(self.tokenizer.finish()) if self.kind == "text" else []
        for clause in [*rest, *self.splitter.finish()]:
            self.request.add_clause(clause)
        self.request.finish()

    def _read(self, kind: str, message: SynthesizeToken | str) -> list[Token]:
        """The tokens that a message completes."""
        if self.kind not in ("", kind):
            raise ValueError(f"the stream has `{self.kind}` and `{kind}` messages; send only one of these kinds")
        self.kind = kind
        return self._check_token(message) if kind == "token" else self._tokenize(message)

    def _check_token(self, token: SynthesizeToken) -> list[Token]:
        if not 0 <= token.id < self.vocab_size:
            raise ValueError(f"token {token.id} is not in the vocabulary of {self.vocab_size}")
        return [(token.id, token.text)]

    def _tokenize(self, text: str) -> list[Token]:
        most = self.settings.max_characters
        if self.tokenizer is None:
            raise ValueError("the checkpoint has no tokenizer; send `token` messages")
        self.characters += len(text)
        if self.characters > most:
            raise too_much(SERVICE, "max_characters", f"the answer is longer than {most} characters")
        return self.tokenizer.push(text)

    def _clauses(self, tokens: list[Token]) -> list[Clause]:
        """The clauses that the tokens complete."""
        most = self.settings.max_tokens
        self.tokens += len(tokens)
        if self.tokens > most:
            raise too_much(SERVICE, "max_tokens", f"the answer is longer than {most} tokens")
        return [clause for id, text in tokens for clause in self.splitter.push(id, text)]
