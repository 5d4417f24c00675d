"""Where to cut an answer into clauses while it is still being written: a short first one, then longer ones.

Notable points:
- The first clause decides when the first audio is ready, so it ends early; later ones may be long.
- The speech decoder is trained on clauses cut by these same rules.
- A mark behind a digit waits for the next token: "3.5" and "1,000" are not two clauses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ENDS = tuple(".?!…。？！\n")  # of a sentence
PAUSES = tuple(",;:—，、；：")
FIRST_WORDS, LATER_WORDS = 4, 12  # at most, in the first clause and in later ones
FIRST_PAUSE, LATER_PAUSE = 2, 4  # words from which a pause ends a clause
MAX_TOKENS = 48  # in any clause


@dataclass
class Clause:
    """Part of an answer that is synthesized at once."""

    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)  # the text of each token
    words: int = 0

    @property
    def text(self) -> str:
        return "".join(self.pieces)

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
        begins = text[:1].isspace() or not self.open.speakable
        if self._ends_before(begins):
            done += self.finish()
            begins = True
        self.open.ids.append(id)
        self.open.pieces.append(text)
        self.open.words += begins and any(character.isalnum() for character in text)
        if self._ends_after() or len(self.open.ids) >= self.max_tokens:
            done += self.finish()
        return done

    def finish(self) -> list[Clause]:
        """The clause that is open, if it has anything in it: for the end of the answer."""
        clause, self.open = self.open, Clause()
        if clause.speakable:
            self.first = False
        return [clause] if clause.ids else []

    def _ends_before(self, begins: bool) -> bool:
        """Whether the open clause ends now that the next token begins a word (or not)."""
        if not begins or not self.open.speakable:
            return False
        return self.open.words >= self.limits[not self.first] or self._ends_with_mark()

    def _ends_after(self) -> bool:
        """Whether the open clause ends with the token just taken."""
        text = self.open.text.rstrip(" ")
        return self._ends_with_mark() and not text[-2:-1].isdigit()

    def _ends_with_mark(self) -> bool:
        text = self.open.text.rstrip(" ")
        if not self.open.speakable:
            return False
        return text.endswith(ENDS) or (
            text.endswith(PAUSES) and self.open.words >= (FIRST_PAUSE if self.first else LATER_PAUSE)
        )


def split(ids: list[int], pieces: list[str], **limits: int) -> list[Clause]:
    """A whole answer in clauses."""
    splitter = ClauseSplitter(**limits)
    clauses = [clause for id, text in zip(ids, pieces, strict=True) for clause in splitter.push(id, text)]
    return clauses + splitter.finish()
