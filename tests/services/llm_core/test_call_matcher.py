"""Calls in an answer are told from its text, however both are cut into tokens."""

from __future__ import annotations

import random

import pytest

from services.llm_core.call_matcher import CallMatcher
from services.llm_core.tools import CallRules

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": "<b>"}}\n</tool_call>'
BODY = '\n{"name": "f", "arguments": {"x": "<b>"}}\n'


def read(pieces: list[str], rules: CallRules | None = CallRules()) -> tuple[str, dict[int, str], set[int]]:  # noqa: B008
    """(text, calls by number, those that came to their end), and checks that text and calls come in order."""
    matcher, tokens = CallMatcher(rules), []
    for number, piece in enumerate(pieces):
        tokens += matcher.push(number, piece)
    tokens += matcher.flush()
    assert [token.id for token in tokens] == sorted(token.id for token in tokens)
    assert {token.id for token in tokens} == set(range(len(pieces)))  # a retry compares them
    numbers = [token.call for token in tokens if token.call]
    assert numbers == sorted(numbers)
    calls: dict[int, str] = {}
    for token in tokens:
        if token.call:
            calls[token.call] = calls.get(token.call, "") + token.text
    return (
        "".join(token.text for token in tokens if not token.call),
        calls,
        {token.call for token in tokens if token.call_done},
    )


def cuts(text: str, count: int = 200):
    """The text in pieces: by character, whole, and at random places; some pieces are empty."""
    yield list(text)
    yield [text]
    generator = random.Random(0)
    for _ in range(count):
        places = sorted(generator.choices(range(len(text) + 1), k=generator.randint(1, 12)))
        yield [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize(
    ("answer", "text", "calls", "complete"),
    [
        ("hello <b> and <tool> you", "hello <b> and <tool> you", {}, set()),
        (CALL, "", {1: BODY}, {1}),
        (f"let me look.\n{CALL}", "let me look.", {1: BODY}, {1}),
        (f"a\n\n{CALL}\n", "a\n", {1: BODY}, {1}),
        (f"a{CALL}\n{CALL}{CALL}\n\n", "a", {1: BODY, 2: BODY, 3: BODY}, {1, 2, 3}),
        (f"a\n{CALL}\nand\n{CALL} b", "a\nand b", {1: BODY, 2: BODY}, {1, 2}),
        (f" \n\n{CALL}", "", {1: BODY}, {1}),
        ("\n hello ", "\n hello ", {}, set()),
        (" \n", " \n", {}, set()),
        ("a <tool_call", "a <tool_call", {}, set()),
        (f"a\n{CALL[:-3]}", "a", {1: CALL[11:-3]}, set()),
        ("<tool_call><tool_call></tool_call>", "", {1: "<tool_call>"}, {1}),
        ("a</tool_call>b", "a</tool_call>b", {}, set()),
        ("naïve ☞\n<tool_call>漢</tool_call>", "naïve ☞", {1: "漢"}, {1}),
    ],
)
def test_calls_and_text_do_not_depend_on_how_they_are_cut(answer, text, calls, complete):
    for pieces in cuts(answer):
        assert read(pieces) == (text, calls, complete), pieces


def test_without_functions_everything_is_text_at_once():
    matcher = CallMatcher(None)
    assert [token.text for token in matcher.push(1, "<tool_call")] == ["<tool_call"]
    assert read([CALL], None) == (CALL, {}, set())


def test_only_what_may_be_a_tag_is_withheld():
    matcher = CallMatcher(CallRules())
    sent = [[token.text for token in matcher.push(0, piece)] for piece in ("hi", "\n", "<", "b", " <tool_", "box")]
    assert sent == [["hi"], [], [], ["\n", "<", "b"], [" "], ["<tool_", "box"]]


def test_a_call_is_sent_as_it_grows():
    matcher = CallMatcher(CallRules())
    sent = [matcher.push(0, piece) for piece in ("<tool_call>", '{"name"', ": <", "/tool", "_call>")]
    assert [[(token.text, token.call, token.call_done) for token in tokens] for tokens in sent] == [
        [("", 1, False)],
        [('{"name"', 1, False)],
        [(": ", 1, False)],
        [],
        [("", 1, False), ("", 1, False), ("", 1, True)],
    ]


def test_enough_calls_are_enough():
    matcher = CallMatcher(CallRules(max_calls=2))
    matcher.push(0, CALL)
    assert not matcher.enough
    matcher.push(1, CALL[:-1])
    assert not matcher.enough
    matcher.push(2, ">")
    assert matcher.enough
