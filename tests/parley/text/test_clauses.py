import re

import pytest

from parley.text.clauses import MAX_TOKENS, ClauseSplitter, begins_word, split


def clauses(text, **limits):
    pieces = re.findall(r"\s?\w+|\s?[^\w\s]", text)
    assert "".join(pieces) == text
    return [clause.text for clause in split(list(range(len(pieces))), pieces, **limits)]


def test_short_first_then_longer():
    assert clauses("a small green triangle at the top, a big yellow star at the bottom left.") == [
        "a small green triangle", " at the top, a big yellow star at the bottom left."
    ]  # fmt: skip


def test_sentences_and_pauses():
    assert clauses("yes, it is. the opposite of no is yes; the day after monday is tuesday, i think.") == [
        "yes, it is.", " the opposite of no is yes;", " the day after monday is tuesday,", " i think."
    ]  # fmt: skip
    assert clauses("no. not at all!") == ["no.", " not at all!"]


def test_marks_inside_numbers():
    assert clauses("it is 3.5, not 1,000.") == ["it is 3.5,", " not 1,000."]


def test_a_clause_is_given_as_soon_as_it_is_complete():
    splitter = ClauseSplitter()
    given = [[c.text for c in splitter.push(i, p)] for i, p in enumerate(["there", " are", " three", ".", " yes", "."])]
    assert given == [[], [], [], ["there are three."], [], [" yes."]]
    assert splitter.finish() == []


def test_words_in_pieces_are_not_cut():
    pieces = ["one", " two", " tri", "ang", "le", " four"]
    assert [c.text for c in split([1, 2, 3, 4, 5, 6], pieces, first_words=3)] == ["one two triangle", " four"]


def test_nothing_is_lost_and_no_clause_is_endless():
    ids = list(range(200))
    found = split(ids, ["x"] * 200)
    assert [i for clause in found for i in clause.ids] == ids
    assert max(len(clause.ids) for clause in found) == MAX_TOKENS


def test_silence_is_not_spoken():
    found = split([1, 2, 3], ["...", "\n", " hello"])
    assert "".join(clause.text for clause in found) == "...\n hello"
    assert found[-1].speakable and found[-1].ids


def texts(pieces):
    return [clause.text for clause in split(list(range(len(pieces))), pieces)]


@pytest.mark.parametrize("mark", "、，；：,;:。！？!?")
def test_a_first_clause_in_chinese_ends_at_a_pause_from_four_characters_on(mark):
    assert texts(["今天", "天气", mark, "我们", "去", "公园"]) == [f"今天天气{mark}", "我们去公园"]


def test_three_characters_are_a_clause_only_where_they_are_a_sentence():
    assert texts(["你", "好吗", "，", "朋友", "，", "再见"]) == ["你好吗，朋友，", "再见"]
    assert texts(["你", "好吗", "？", "我", "很", "好"]) == ["你好吗？", "我很好"]


def test_a_first_clause_in_chinese_has_at_most_ten_characters_and_a_mark_stays_with_it():
    assert texts(["今天", "我们", "一起", "去", "公园", "散步"]) == ["今天我们一起去公园", "散步"]
    assert texts(["今天", "我们", "一起", "去", "大", "公园", "，", "好吗"]) == ["今天我们一起去大公园，", "好吗"]


def test_later_clauses_in_chinese_are_longer():
    begin, later = ["你好", "。"], list("一二三四五六七八九十" * 4)
    assert [len(text) for text in texts(begin + later)] == [3, 30, 10]
    assert texts([*begin, *later[:7], "，", *later[:8], "，", "好"]) == [
        "你好。", "一二三四五六七，一二三四五六七八，", "好"
    ]  # fmt: skip


def test_a_mark_that_its_token_shares_with_what_follows():
    assert texts(["今天", "天气", "，我", "去", "。"]) == ["今天天气", "，我去。"]
    assert texts(["example", ".com", " is", " here", "."]) == ["example.com is here."]


def test_chinese_and_english_in_one_answer():
    assert texts(["我", "会", "用", "Python", "，", "也", "会", " C", "。"]) == ["我会用Python，", "也会 C。"]
    assert texts(["我", "用", " Python", " and", " Rust", " 写", "代码"]) == ["我用 Python and Rust", " 写代码"]
    assert texts(["the", " word", " 你好", " means", " hello", "."]) == ["the word 你好 means", " hello."]
    assert texts(["有", "3", ".", "5", "个", "，", "很", "多"]) == ["有3.5个，", "很多"]


def test_japanese_and_thai_count_as_chinese_does():
    assert texts(["きょう", "は", "、", "いい", "てんき", "です", "。"]) == ["きょうは、", "いいてんきです。"]
    thai = ["สวัส", "ดี", "ครับ", "ผม", "ชื่อ", "ต้น"]  # 3, 1, 3, 2, 2, 2 letters
    assert texts(thai) == ["สวัสดีครับผม", "ชื่อต้น"]


def test_korean_is_written_with_spaces():
    assert texts(["오늘", "은", " 날씨", "가", " 아주", " 좋", "습니다", " 그렇", "죠"]) == [
        "오늘은 날씨가 아주 좋습니다", " 그렇죠"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "before", "begins"),
    [(" a", "b", 1), ("a", "b", 0), ("我", "b", 1), ("a", "我", 1), ("，", "我", 0), ("\u0e31", "ส", 0), ("", "我", 0)],
)
def test_where_a_word_begins(text, before, begins):
    assert begins_word(text, before) == begins
