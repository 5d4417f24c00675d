"""Text to ids and back, as a CTC head writes it."""

from __future__ import annotations

import pytest

from parley.text.ctc import CtcVocabulary

LETTERS = " abcdefghijklmnopqrstuvwxyz'"


def test_text_becomes_letters_and_letters_text() -> None:
    vocabulary = CtcVocabulary(LETTERS)
    assert len(vocabulary) == 29
    assert vocabulary.normalise("What IS red-ish?") == "what is red ish"
    ids = vocabulary.encode("it's a bee")
    assert vocabulary.collapse(ids) == "it's a be"  # a repeat needs a blank between
    spread = [i for letter in ids for i in (letter, letter, 0)]
    assert vocabulary.collapse(spread) == vocabulary.decode(spread) == "it's a bee"


def test_words_of_the_vocabulary_are_written_whole() -> None:
    vocabulary = CtcVocabulary(LETTERS, ("a", "red", "bee"))
    assert vocabulary.encode("Red bee") == [30, 31]
    ids = vocabulary.encode("it's a red fox, a bee")
    assert len(ids) == len("it's") + 1 + 1 + len(" fox") + 1 + 1
    assert vocabulary.collapse(ids).strip() == "it's a red fox a bee"
    assert vocabulary.collapse([30, 30, 0, 30, 31]) == " red red bee"
    assert vocabulary.decode([1, 30, 0]) == "red"  # no space at the ends, nor two of them


def test_a_repeat_across_two_chunks_is_written_once() -> None:
    vocabulary = CtcVocabulary(LETTERS)
    ids = [2, 2, 0, 2, 3, 3]
    for cut in range(1, len(ids)):
        parts = vocabulary.collapse(ids[:cut]) + vocabulary.collapse(ids[cut:], previous=ids[cut - 1])
        assert parts == "aab"


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the characters"):
        CtcVocabulary(LETTERS).encode("123")
    with pytest.raises(ValueError, match="ctc_alphabet with a space"):
        CtcVocabulary("abc")
