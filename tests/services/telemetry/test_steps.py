import time

from services.telemetry.steps import MAX_MARKS, Steps


def test_a_step_lasts_until_the_next_one_begins():
    steps = Steps()
    steps.begin("queue")
    steps.begin("decode")
    time.sleep(0.01)
    steps.end()
    (queue, began, ended), (decode, after, end) = steps.finished()
    assert (queue, decode) == ("queue", "decode") and began <= ended == after and end - after >= 0.01


def test_a_step_that_is_not_over_ends_now_and_there_is_a_limit():
    steps = Steps()
    assert steps.finished() == []
    for number in range(2 * MAX_MARKS):
        steps.begin(str(number))
    assert len(steps.finished()) == MAX_MARKS


def test_a_step_that_begins_again_goes_on():
    steps = Steps()
    for name in ("queue", "prefill", "prefill", "queue", "prefill"):
        steps.begin(name)
    assert [name for name, *_ in steps.finished()] == ["queue", "prefill", "queue", "prefill"]
