"""What a CTC head writes: letters and whole words, their ids, and the text of a sequence of ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

BLANK = 0
APOSTROPHES = str.maketrans(dict.fromkeys("’ʼ‘´", "'"))
# Chinese and Japanese are written without spaces: ideographs, their iteration mark, kana.
UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
SPACE_BESIDE_UNSPACED = re.compile(f"(?<=[{UNSPACED}]) | (?=[{UNSPACED}])")
UNSPACED_CHARACTER = re.compile(f"([{UNSPACED}])")


class CtcVocabulary:
    """Id 0 is the blank, then come the letters of the alphabet, then the words that are written whole."""

    def __init__(self, alphabet: str, words: Sequence[str] = ()) -> None:
        if " " not in alphabet:
            raise ValueError(f"a CTC head needs a ctc_alphabet with a space; this config has {alphabet!r}")
        self.alphabet = alphabet
        self.pieces = ["", *alphabet, *(f" {word}" for word in words)]
        self._letters = frozenset(alphabet)
        self._id_of = {piece: i for i, piece in enumerate(self.pieces)}

    def __len__(self) -> int:
        return len(self.pieces)

    def normalise(self, text: str) -> str:
        """`text` in the letters of the alphabet: lower case where it has no capitals, anything unknown a space."""
        known = self._letters
        letters = (c if c in known else " " for written in composed(text) for c in cased(written, known))
        return spaced("".join(letters))

    def writes(self, text: str) -> bool:
        """Whether there are letters or digits in `text`, and the head can write all of them."""
        said = [c for written in composed(text) for c in cased(written, self._letters) if c.isalnum()]
        return bool(said) and self._letters.issuperset(said)

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
            raise ValueError(f"{text!r} has none of the characters that the CTC head writes ({shown(self.alphabet)})")
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


def composed(text: str) -> str:
    """One way to write each character: accents with their letter, wide letters and digits narrow (NFKC), one kind of
    apostrophe."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text.translate(APOSTROPHES))


def cased(character: str, known: frozenset[str]) -> str:
    """The character as it is if it is known, else in lower case, which may be two characters."""
    return character if character in known else character.lower()


def single_spaced(text: str) -> str:
    """The text without spaces at its ends and with single ones inside."""
    return " ".join(text.split())


def spaced(text: str) -> str:
    """`single_spaced`, and without spaces beside characters of scripts that are written without them."""
    return SPACE_BESIDE_UNSPACED.sub("", single_spaced(text))


def scored_words(text: str) -> str:
    """The text with a space on both sides of each Chinese or Japanese character: the word error rate of such texts is
    the usual one, which counts these characters and the words of other scripts."""
    return single_spaced(UNSPACED_CHARACTER.sub(r" \1 ", text))


def shown(alphabet: str) -> str:
    """The alphabet for a message: the beginning of a long one."""
    return repr(alphabet) if len(alphabet) <= 60 else f"{alphabet[:60]!r} and {len(alphabet) - 60} more"
