"""The letters and words of a CTC head, from transcripts of Latin scripts and of Chinese."""

from __future__ import annotations

import random

import pytest

from parley.config import preset
from parley.text.ctc import CtcVocabulary
from training.data import ctc_vocabulary
from training.data.ctc_vocabulary import CtcPieces, make_pieces, pieces_once

ENGLISH = ["The dog's BARK, it’s loud!", "the cat", "…", "Room 101 — the end."]


def test_english():
    pieces = make_pieces(ENGLISH, fewest=2)
    assert pieces.alphabet == " '01abcdeghiklmnorstu"
    assert pieces.words == ("the",)
    assert (pieces.transcripts, pieces.empty, pieces.with_digits) == (4, 1, 1)
    assert pieces.spaces == {".": 4, ",": 1, "!": 1, "—": 1}  # NFKC writes … as three points
    vocabulary = CtcVocabulary(pieces.alphabet, pieces.words)
    assert vocabulary.normalise(ENGLISH[0]) == "the dog's bark it's loud"
    assert vocabulary.decode(vocabulary.encode("The room 101")) == "the rom 101"  # a blank stands between two o


def test_every_letter_of_the_transcripts_can_be_written():
    texts = ["Ünder Straße ŒUVRE", "İstanbul ΣΊΣΥΦΟΣ", "e\u0301te\u0301 été", "ﬁne １２", "हिन्दी में"]
    pieces = make_pieces(texts)
    vocabulary = CtcVocabulary(pieces.alphabet)
    assert [vocabulary.normalise(text).count(" ") for text in texts] == [text.count(" ") for text in texts]
    assert vocabulary.normalise("e\u0301te\u0301") == "été" and vocabulary.normalise("ﬁne １２") == "fine 12"
    assert not pieces.spaces and len(pieces.alphabet) == len(set(pieces.alphabet))


def test_chinese_characters_are_letters():
    texts = ["今天 天气 不错", "今天天气不错，用 iPhone 拍", "甚至 出现 交易 几乎 停滞 的 情况"]
    pieces = make_pieces(texts * 100)
    assert "天" in pieces.alphabet and "，" not in pieces.alphabet and "," not in pieces.alphabet
    assert not pieces.words  # a sentence is no word, and "iphone" touches one
    vocabulary = CtcVocabulary(pieces.alphabet, pieces.words)
    assert vocabulary.normalise(texts[0]) == "今天天气不错"
    assert len(vocabulary.encode(texts[0])) == 6
    assert vocabulary.normalise(texts[1]) == "今天天气不错用iphone拍"


def test_words_are_the_most_frequent_ones():
    texts = ["b b b a a a c c d"] * 30
    assert make_pieces(texts, most_words=3).words == ("a", "b", "c")
    assert make_pieces(texts, fewest=60).words == ("a", "b", "c")
    assert make_pieces(texts, fewest=61).words == ("a", "b")


def test_counting_is_bounded_and_the_same_every_time(monkeypatch):
    monkeypatch.setattr(ctc_vocabulary, "COUNTED_WORDS", 100)
    rng = random.Random(0)
    rare = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(2000)]
    texts = [f"{word} the of and" for word in rare]
    first = make_pieces(texts)
    assert first.words == ("and", "of", "the") and make_pieces(texts) == first


def test_too_many_letters_are_refused_with_the_rarest():
    texts = ["abc"] * 100 + ["abc 龘 ø"]
    with pytest.raises(ValueError, match=r"5 different letters, at most 4 .* ø 1×, 龘 1×, a 101×"):
        make_pieces(texts, most_letters=4)
    with pytest.raises(ValueError, match="no letter"):
        make_pieces(["...", "''"])


def test_the_file_is_made_once_and_shown(tmp_path, capsys):
    file = tmp_path / "work" / "ctc.json"
    made = pieces_once(file, lambda: ENGLISH)
    assert made == make_pieces(ENGLISH) and capsys.readouterr().out == f"{made}\n"
    assert pieces_once(file, lambda: pytest.fail("read again")) == made
    assert [path.name for path in file.parent.iterdir()] == ["ctc.json"] and not capsys.readouterr().out
    file.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        pieces_once(file, lambda: ENGLISH)


def test_the_config_gets_the_pieces():
    pieces = CtcPieces(alphabet=" xy", words=("xyx",), transcripts=1, empty=0, with_digits=0, spaces={"!": 3})
    speech = pieces.applied(preset("vita-7b")).speech
    assert (speech.ctc_alphabet, speech.ctc_words) == (" xy", ("xyx",))
    assert "3 letters with the space, 1 whole words" in str(pieces) and "! 3×" in str(pieces)
