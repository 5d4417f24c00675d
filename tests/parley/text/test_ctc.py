"""Text to ids and back, as a CTC head writes it."""

from __future__ import annotations

import pytest

from parley.text.ctc import CtcVocabulary, scored_words

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


def test_characters_are_read_in_whatever_way_they_are_written() -> None:
    vocabulary = CtcVocabulary(LETTERS + "é")
    assert vocabulary.normalise("IT’S cafe\u0301") == "it's café"
    assert vocabulary.normalise("ｆｉｎｅ ﬁsh") == "fine fish"
    assert CtcVocabulary(" i\u0307").normalise("İ") == "i\u0307"  # in lower case it is two characters


def test_chinese_has_no_spaces() -> None:
    vocabulary = CtcVocabulary(" 今天气好abc", ("abc",))
    assert vocabulary.normalise("今天 天气，好 abc abc") == "今天天气好abc abc"
    assert len(vocabulary.encode("今天 天气")) == 4
    assert vocabulary.decode([2, 0, 3, 0, 3, 4]) == "今天天气"
    assert scored_words("今天好abc abc") == "今 天 好 abc abc"


def test_the_message_shows_the_beginning_of_a_long_alphabet() -> None:
    alphabet = " " + "".join(chr(0x4E00 + i) for i in range(5000))
    with pytest.raises(ValueError, match="and 4941 more") as error:
        CtcVocabulary(alphabet).encode("abc")
    assert len(str(error.value)) < 250
