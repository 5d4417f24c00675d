"""Random JSON is made of an input's number alone."""

from random import Random

from benchmarks.fuzz_json import BODIES, body, event

PATH = next(iter(BODIES))


def test_an_input_is_the_same_whatever_was_made_before_it():
    """A value that was put into one input was changed in it, and came into the next ones so."""
    first = [(event(Random(f"realtime {number}")), body(PATH, Random(f"http {number}"))) for number in range(50)]
    for number in range(50, 3000):
        event(Random(f"realtime {number}"))
    again = [(event(Random(f"realtime {number}")), body(PATH, Random(f"http {number}"))) for number in range(50)]
    assert again == first
