"""What a CTC head writes: letters and whole words, their ids, and the text of a sequence of ids."""

from __future__ import annotations

from collections.abc import Sequence

BLANK = 0


class CtcVocabulary:
    """Id 0 is the blank, then come the letters of the alphabet, then the words that are written whole."""

    def __init__(self, alphabet: str, words: Sequence[str] = ()) -> None:
        if " " not in alphabet:
            raise ValueError(f"a CTC head needs a ctc_alphabet with a space; this config has {alphabet!r}")
        self.alphabet = alphabet
        self.pieces = ["", *alphabet, *(f" {word}" for word in words)]
        self._id_of = {piece: i for i, piece in enumerate(self.pieces)}

    def __len__(self) -> int:
        return len(self.pieces)

    def normalise(self, text: str) -> str:
        """`text` in the letters of the alphabet: lower case where it has no capitals, anything unknown a space."""
        known = self.alphabet
        letters = (c if c in known else c.lower() if c.lower() in known else " " for c in text)
        return single_spaced("".join(letters))

    def encode(self, text: str) -> list[int]:
        """Ids of `normalise(text)`: one for a word of the vocabulary, a space and letters for another.

        Raises `ValueError` where nothing is left of the text.
        """
        ids: list[int] = []
        for word in self.normalise(text).split():
            whole = self._id_of.get(f" {word}")
            ids += [self._id_of[letter] for letter in f" {word}"] if whole is None else [whole]
        if ids and self.pieces[ids[0]] == " ":
            ids = ids[1:]
        if not ids:
            raise ValueError(f"{text!r} has none of the characters that the CTC head writes ({self.alphabet!r})")
        return ids

    def collapse(self, ids: Sequence[int], previous: int = BLANK) -> str:
        """The likeliest ids of consecutive frames → text, without blanks and repeats, of `previous` too."""
        pieces = []
        for i in ids:
            if i not in (previous, BLANK):
                pieces.append(self.pieces[i])
            previous = i
        return "".join(pieces)

    def decode(self, ids: Sequence[int]) -> str:
        """The likeliest ids of all frames of an utterance → its transcript."""
        return single_spaced(self.collapse(ids))


def single_spaced(text: str) -> str:
    """The text without spaces at its ends and with single ones inside."""
    return " ".join(text.split())
