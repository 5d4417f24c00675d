"""Latency is made of the steps, and the steps of what was measured."""

import pytest
from prometheus_client import REGISTRY

from services.gateway.events import Latency
from services.gateway.turn.clock import TurnClock


def open_turns(phase: str) -> float:
    return REGISTRY.get_sample_value("parley_open_turns", {"phase": phase}) or 0.0


def ended(**moments: float) -> TurnClock:
    clock = TurnClock(began=1.0, **moments)
    clock.close()
    return clock


def test_steps_of_a_spoken_answer_add_up():
    clock = ended(asked=3.0, embeddings=3.1, token=3.4, audio=4.0, decoder=0.2, vision=0.5, ended=6.0)
    steps = {step.name: step for step in clock.steps()}
    assert (steps["listen"].seconds, steps["deliver"].seconds) == (2.0, 2.0)
    parts = ("speech_encoder", "first_token", "first_clause", "speech_decoder")
    assert [round(steps[part].seconds, 6) for part in parts] == [0.1, 0.3, 0.4, 0.2]
    assert [steps[part].began for part in parts[1:]] == [steps[part].ended for part in parts[:-1]]
    assert {steps[part].parent for part in parts} == {"first_audio"}
    assert clock.latency() == Latency(
        first_audio=1.0,
        speech_encoder=pytest.approx(0.1),
        first_token=pytest.approx(0.3),
        first_clause=pytest.approx(0.4),
        speech_decoder=pytest.approx(0.2),
        vision_encoder=0.5,
        total=3.0,
    )


def test_the_silence_that_was_waited_for_is_part_of_what_a_person_waits():
    clock = ended(voiced=2.8, asked=3.0, embeddings=3.1, token=3.0, audio=3.0, ended=6.0)  # its answer was held
    steps = {step.name: step for step in clock.steps()}
    assert (steps["answer"].began, steps["first_audio"].began, steps["end_of_turn"].ended) == (2.8, 2.8, 3.0)
    latency = clock.latency()
    assert latency == Latency(first_audio=pytest.approx(0.2), end_of_turn=pytest.approx(0.2), total=pytest.approx(3.2))
    assert all(step.seconds >= 0 for step in steps.values())


def test_a_decoder_that_says_more_than_there_was_gets_all_there_was():
    latency = ended(asked=3.0, token=3.4, audio=3.5, decoder=9.0, ended=5.0).latency()
    assert (latency.first_clause, latency.speech_decoder) == (0.0, pytest.approx(0.1))


def test_a_turn_without_audio_or_without_a_question_has_fewer_steps():
    written = ended(asked=3.0, token=3.4, ended=5.0)
    assert [step.name for step in written.steps()] == ["listen", "answer", "speech_encoder", "first_token"]
    assert written.latency() == Latency(first_token=pytest.approx(0.4), total=2.0)
    assert ended(ended=4.0, vision=0.5).latency() == Latency(vision_encoder=0.5)


def test_open_turns_are_counted_by_what_they_wait_for():
    before = {phase: open_turns(phase) for phase in ("question", "waiting", "answering")}

    def change() -> list[float]:
        return [open_turns(phase) - count for phase, count in before.items()]

    clock = TurnClock()
    assert change() == [1, 0, 0]
    clock.ask()
    assert change() == [0, 1, 0]
    clock.deliver()
    clock.deliver()
    assert change() == [0, 0, 1]
    clock.close()
    assert change() == [0, 0, 0]
