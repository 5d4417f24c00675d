"""A second call beside one that hangs."""

import asyncio

import pytest

from services.gateway.upstream.hedging import hedged


class Calls:
    """Each call does the next of `plans`: an answer, an exception, or None, which hangs."""

    def __init__(self, *plans):
        self.plans, self.made, self.cancelled = list(plans), 0, 0

    async def __call__(self) -> str:
        self.made += 1
        plan = self.plans.pop(0)
        try:
            await asyncio.sleep(0.02 if plan is not None else 60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(plan, Exception):
            raise plan
        return plan


async def test_a_call_that_answers_in_time_is_made_once():
    calls = Calls("first")
    assert await hedged(calls, 10) == "first"
    assert calls.made == 1


async def test_a_call_that_hangs_is_made_again_and_cancelled():
    calls = Calls(None, "second")
    assert await hedged(calls, 0.05) == "second"
    await asyncio.sleep(0)
    assert (calls.made, calls.cancelled) == (2, 1)


async def test_a_slow_first_answer_counts_where_the_second_fails():
    async def slow_then_failing():
        if slow_then_failing.made:
            raise ConnectionError("no")
        slow_then_failing.made = True
        await asyncio.sleep(0.2)
        return "first"

    slow_then_failing.made = False
    assert await hedged(slow_then_failing, 0.05) == "first"


async def test_a_failure_in_time_is_raised_at_once():
    calls = Calls(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await hedged(calls, 10)
    assert calls.made == 1


async def test_a_caller_that_goes_away_takes_both_with_it():
    calls = Calls(None, None)
    asked = asyncio.create_task(hedged(calls, 0.05))
    await asyncio.sleep(0.1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await asyncio.sleep(0)
    assert (calls.made, calls.cancelled) == (2, 2)


async def test_an_answer_counts_that_comes_together_with_a_failure():
    """It depended on the order of a set."""
    for failing in (0, 1):
        together, made = asyncio.Event(), []

        async def call(failing=failing, together=together, made=made):
            made.append(number := len(made))
            if len(made) == 2:
                asyncio.get_running_loop().call_later(0.02, together.set)
            await together.wait()
            if number == failing:
                raise ConnectionError("no")
            return "answer"

        for _ in range(20):
            made.clear()
            together.clear()
            assert await hedged(call, 0.01) == "answer"
