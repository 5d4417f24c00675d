"""Tokenizes text that arrives in arbitrary pieces into the tokens that the whole text has.

A tokenizer splits text into words before it looks for tokens, and a word is known to be complete when the next one has
begun. So the tokens of all words but the last are final. The last word is tokenized anew with every piece, so a word
longer than `MAX_WORD` is cut; its tokens may differ from those of the whole at the cut.
"""

from __future__ import annotations

from itertools import pairwise

from tokenizers import Encoding, Tokenizer

MAX_WORD = 256  # characters that are held back

Token = tuple[int, str]  # id, and the text that it adds


class IncrementalTokenizer:
    """Holds back the last word until it is complete."""

    def __init__(self, tokenizer: Tokenizer):
        """`tokenizer`: from `without_special_tokens`."""
        self._tokenizer = tokenizer
        self._pending = ""  # text whose tokens may still change

    def push(self, text: str) -> list[Token]:
        """The tokens that this piece of text completes."""
        self._pending += text
        encoding = self._encode()
        words = encoding.word_ids
        if not words:
            return []
        last = words.index(words[-1])
        complete = self._take(encoding, last, encoding.offsets[last][0])
        return complete + self.finish() if len(self._pending) > MAX_WORD else complete

    def finish(self) -> list[Token]:
        """The tokens of what is held back, at the end of the text."""
        encoding = self._encode()
        return self._take(encoding, len(encoding.ids), len(self._pending))

    def _encode(self) -> Encoding:
        return self._tokenizer.encode(self._pending, add_special_tokens=False)

    def _take(self, encoding: Encoding, count: int, length: int) -> list[Token]:
        """The first `count` tokens, which are those of the first `length` characters."""
        ends = [0, *(end for _, end in encoding.offsets[: count - 1]), length] if count else []
        pieces = [self._pending[begin:end] for begin, end in pairwise(ends)]
        self._pending = self._pending[length:]
        return list(zip(encoding.ids[:count], pieces, strict=True))


def without_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that reads the names of special tokens as ordinary text."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    return copy
