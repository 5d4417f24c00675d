"""Stop strings in an answer that comes token by token."""

from __future__ import annotations

from services.llm_core.stop_strings import StopStringMatcher


def feed(stops, texts):
    """(texts sent after each push and at the end, whether it stopped)"""
    matcher, steps = StopStringMatcher(stops), []
    for token, text in enumerate(texts):
        out, stopped = matcher.push(token, text)
        steps.append("|".join(piece for _, piece in out))
        if stopped:
            return steps, True
    steps.append("|".join(piece for _, piece in matcher.flush()))
    return steps, False


def test_no_part_of_a_stop_string_is_sent():
    assert feed((), ["a", "b"]) == (["a", "b", ""], False)
    assert feed(("END",), ["one ", "E", "N", "D", "x"]) == (["one ", "", "", ""], True)
    assert feed(("END",), ["one E", "N", "O"]) == (["", "", "one E|N|O", ""], False)
    assert feed(("END",), ["oneEND and more"]) == (["one"], True)
    assert feed(("END",), ["one EN"]) == (["", "one EN"], False)
    assert feed(("b", "abc"), ["xa", "bc"]) == (["", "x"], True)
    assert feed(("\n",), ["", "é", "", "\n"]) == (["", "|é", "", ""], True)
