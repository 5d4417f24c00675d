"""Word and character error rates, with the normalisation that published figures are given with."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

UNCOUNTED = "PSZC"  # Unicode categories: punctuation, symbols, separators, control characters


@dataclass
class ErrorRate:
    """Errors summed over utterances. It is the rate of the whole set: not the mean of the rates of utterances, in which
    a short one would count as much as a long one."""

    unit: str  # "WER" or "CER"
    normalise: Callable[[str], str]
    align: Callable[[str, str], jiwer.WordOutput | jiwer.CharacterOutput]
    errors: int = 0  # words or characters that are wrong, missing or too many
    length: int = 0  # words or characters of the references
    utterances: int = 0

    @classmethod
    def of(cls, language: str) -> ErrorRate:
        """Words for "en", characters for "zh"."""
        if language == "zh":
            return cls("CER", chinese, jiwer.process_characters)
        assert language == "en", language
        return cls("WER", english, jiwer.process_words)

    def add(self, reference: str, transcript: str) -> None:
        found = self.align(self.normalise(reference), self.normalise(transcript))
        self.errors += found.substitutions + found.deletions + found.insertions
        self.length += found.hits + found.substitutions + found.deletions
        self.utterances += 1

    @property
    def percent(self) -> float:
        """Errors of 100 words or characters. Raises `ValueError` if the references have none."""
        if not self.length:
            raise ValueError(f"the {self.utterances} references have no words: there is nothing to compare with")
        return 100 * self.errors / self.length


def english(text: str) -> str:
    """As Whisper's paper normalises (appendix C): lower case, numbers as digits, contractions and British spellings
    written one way, no punctuation, no hesitations."""
    return _whisper()(text)


def chinese(text: str) -> str:
    """Characters without spaces and punctuation; letters and digits in half width and lower case."""
    kept = unicodedata.normalize("NFKC", text).lower()
    return "".join(letter for letter in kept if unicodedata.category(letter)[0] not in UNCOUNTED)


def language_of(text: str) -> str:
    """ "zh" for a text that is mostly Chinese characters, else "en"."""
    letters = [letter for letter in text if letter.isalpha()]
    chinese_letters = sum("\u4e00" <= letter <= "\u9fff" for letter in letters)
    return "zh" if 2 * chinese_letters > len(letters) else "en"


@cache
def _whisper() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()
