"""Random messages are answered or refused in words, and others are served; benchmarks/fuzz.py tries many more."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.fuzz import Target, verdict_of_statuses
from benchmarks.fuzz_stack import REQUESTS

CALLS, CONVERSATIONS = 40, 60  # of each service; of the gateway
POSTS, TALKS = 60, 25  # of the OpenAI API


@pytest.mark.parametrize("service", REQUESTS)
def test_calls_of_a_service(stack, service):
    found = [verdict_of_statuses([stack.call(service, Random(f"{service} {number}"))]) for number in range(CALLS)]
    assert [says for verdict, says in found if verdict == "wrong"] == []
    assert stack.ask()


def test_conversations(stack):
    found = [verdict_of_statuses(stack.converse(Random(number))) for number in range(CONVERSATIONS)]
    assert [says for verdict, says in found if verdict == "wrong"] == []
    assert stack.ask()


def test_bodies_of_the_openai_api(stack):
    found = [verdict_of_statuses([stack.post(Random(number))]) for number in range(POSTS)]
    assert [says for verdict, says in found if verdict == "wrong"] == []
    assert {verdict for verdict, _ in found} == {"read", "refused"}
    assert stack.ask()


def test_events_of_the_realtime_api(stack):
    found = [verdict_of_statuses(stack.talk(Random(number))) for number in range(TALKS)]
    assert [says for verdict, says in found if verdict == "wrong"] == []
    assert stack.ask()


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ([("OK", "")], "read"),
        ([("INVALID_ARGUMENT", "no"), ("OK", "")], "refused"),
        ([("OK", ""), ("INTERNAL", "incident")], "wrong"),
        ([("UNKNOWN", "Unexpected <class …>")], "wrong"),
        ([("UNAVAILABLE", "it is gone")], "wrong"),
    ],
)
def test_what_counts_as_wrong(statuses, verdict):
    assert verdict_of_statuses(statuses)[0] == verdict


def test_an_input_that_fails_is_found():
    target = Target(["picture"], None)  # without a stack
    assert target.take("call", 0)[0] == "wrong"
