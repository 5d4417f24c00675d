import re

from parley.text.clauses import MAX_TOKENS, ClauseSplitter, split


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
