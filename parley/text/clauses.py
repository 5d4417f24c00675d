"""Where to cut an answer into clauses while it is still being written: a short first one, then longer ones.

Notable points:
- The first clause decides when the first audio is ready, so it ends early; later ones may be long.
- The speech decoder is trained on clauses cut by these same rules.
- Lengths are in words. Scripts without spaces between words count by characters: a first clause ends at a pause from 4
  characters on, and has at most 10.
- A mark behind a digit waits for the next token: "3.5" and "1,000" are not two clauses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ENDS = tuple(".?!…。？！\n")  # of a sentence
PAUSES = tuple(",;:—，、；：")
FIRST_WORDS, LATER_WORDS = 4, 12  # at most, in the first clause and in later ones
FIRST_PAUSE, LATER_PAUSE = 1.6, 3.2  # words from which a pause ends a clause: 2 or 4 words, 4 or 8 characters
CHARACTERS_A_WORD = 2.5  # in scripts without spaces
MAX_TOKENS = 48  # in any clause

_HAN_AND_KANA = "\u3005-\u3007\u3041-\u312f\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_THAI_LAO_MYANMAR_KHMER = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_UNSPACED = re.compile(f"[{_HAN_AND_KANA}{_THAI_LAO_MYANMAR_KHMER}]")


def unspaced(text: str) -> int:
    """How many letters and digits of scripts without spaces a text has. Signs above or below a letter do not count."""
    return sum(character.isalnum() for character in _UNSPACED.findall(text))


def begins_word(text: str, before: str) -> bool:
    """Whether a token begins a word where `before` stands before it. In scripts without spaces every token does."""
    first = text[:1]
    return first.isspace() or (first.isalnum() and unspaced(first + before[-1:]) > 0)


@dataclass
class Clause:
    """Part of an answer that is synthesized at once."""

    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)  # the text of each token
    words: int = 0  # of scripts with spaces
    characters: int = 0  # of scripts without

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def length(self) -> float:
        """In words."""
        return self.words + self.characters / CHARACTERS_A_WORD

    @property
    def speakable(self) -> bool:
        return any(character.isalnum() for character in self.text)

    @property
    def ends_sentence(self) -> bool:
        return self.text.rstrip(" ").endswith(ENDS)


class ClauseSplitter:
    """Takes tokens one by one; gives a clause as soon as it is complete."""

    def __init__(self, first_words: int = FIRST_WORDS, later_words: int = LATER_WORDS, max_tokens: int = MAX_TOKENS):
        self.limits = first_words, later_words
        self.max_tokens = max_tokens
        self.first = True
        self.open = Clause()

    def push(self, id: int, text: str) -> list[Clause]:
        """The clauses that this token completes: none, one, or two."""
        done = []
        if self._ends_before(text):
            done += self.finish()
        self._add(id, text)
        if self._ends_after() or len(self.open.ids) >= self.max_tokens:
            done += self.finish()
        return done

    def _add(self, id: int, text: str) -> None:
        words, characters = self._size(text)
        self.open.ids.append(id)
        self.open.pieces.append(text)
        self.open.words += words
        self.open.characters += characters

    def _size(self, text: str) -> tuple[int, int]:
        """Words that begin in the next token, and its characters of scripts without spaces."""
        begins = not self.open.speakable or begins_word(text, self.open.text)
        return int(begins and any(character.isalnum() for character in _UNSPACED.sub("", text))), unspaced(text)

    def finish(self) -> list[Clause]:
        """The clause that is open, if it has anything in it: for the end of the answer."""
        clause, self.open = self.open, Clause()
        if clause.speakable:
            self.first = False
        return [clause] if clause.ids else []

    def _ends_before(self, text: str) -> bool:
        """Whether the open clause ends in front of the next token."""
        if not self.open.speakable:
            return False
        if unspaced(text[1:2]) and text[0] in ENDS + PAUSES:  # as in "，我", which tokenizers for Chinese have
            return self._is_full(text) or self._ends_with_mark(self.open.text + text[0])
        return begins_word(text, self.open.text) and (self._is_full(text) or self._ends_with_mark(self.open.text))

    def _is_full(self, text: str) -> bool:
        """Whether the next token would make the open clause too long."""
        words, characters = self._size(text)
        return self.open.length + (words + characters / CHARACTERS_A_WORD or 1) > self.limits[not self.first]

    def _ends_after(self) -> bool:
        """Whether the open clause ends with the token just taken."""
        text = self.open.text.rstrip(" ")
        return self._ends_with_mark(text) and not text[-2:-1].isdigit()

    def _ends_with_mark(self, text: str) -> bool:
        text = text.rstrip(" ")
        if not self.open.speakable:
            return False
        return text.endswith(ENDS) or (
            text.endswith(PAUSES) and self.open.length >= (FIRST_PAUSE if self.first else LATER_PAUSE)
        )


def split(ids: list[int], pieces: list[str], **limits: int) -> list[Clause]:
    """A whole answer in clauses."""
    splitter = ClauseSplitter(**limits)
    clauses = [clause for id, text in zip(ids, pieces, strict=True) for clause in splitter.push(id, text)]
    return clauses + splitter.finish()
