"""The held-out sets of the evaluation: one function a measure, the same samples for every checkpoint.

Notable points:
- Sets are made when they are asked for, from the held-out split of seed `SEED`.
- The spoken questions are the written ones of the same index, so that only speech makes the difference.
- No scene and no sentence is in the training split, except sentences without a gap ("what is written?").
- `unseen_voice` and `unseen_speed` change one thing at a time; no transcribed sentence is in the training split.
"""

from __future__ import annotations

from collections.abc import Iterator

from training.data.sample import Sample
from training.data.world.cut_questions import cut_question
from training.data.world.questions import PICTURE_KINDS
from training.data.world.smalltalk import SMALL_TALK_KINDS
from training.data.world.spoken import Utterance, speak_questions
from training.data.world.world import World

SEED = 2026
SIZES = {
    "question": 100,  # of each kind
    "small_talk": 40,  # of each kind
    "video": 300,
    "transcription": 300,
    "state": 150,  # of each state
    "end_of_turn": 300,  # complete ones, and as many that are cut short
    "answer": 200,
}


def world() -> World:
    return World(SEED, "heldout")


def questions(spoken: bool = False, unseen_voice: bool = False, count: int = SIZES["question"]) -> Iterator[Sample]:
    """`count` picture questions of each kind; `about["kind"]` tells which."""
    for kind in PICTURE_KINDS:
        for index in range(count):
            yield spoken_if(world().question(index, kind), ("question", kind, index), spoken, unseen_voice)


def small_talk(spoken: bool = True, unseen_voice: bool = False, count: int = SIZES["small_talk"]) -> Iterator[Sample]:
    """`count` questions of each kind of small talk."""
    for kind in SMALL_TALK_KINDS:
        for index in range(count):
            yield spoken_if(world().small_talk(index, kind=kind), ("small talk", kind, index), spoken, unseen_voice)


def videos(spoken: bool = False, unseen_voice: bool = False, count: int = SIZES["video"]) -> Iterator[Sample]:
    """Which way does it move?"""
    for index in range(count):
        yield spoken_if(world().video(index), ("video", index), spoken, unseen_voice)


def spoken_if(sample: Sample, name: tuple, spoken: bool, unseen_voice: bool) -> Sample:
    """The sample, or its spoken version."""
    if not spoken:
        return sample
    return speak_questions(sample, "heldout", world().rng("asked", *name), share=1.0, unseen_voice=unseen_voice)


def transcription(
    unseen_voice: bool = False, unseen_speed: bool = False, count: int = SIZES["transcription"]
) -> Iterator[Utterance]:
    """Sentences that are not in the training split, in seen or unseen voices, at seen or unseen speeds."""
    for index in range(count):
        yield world().utterance(index, unseen_voice=unseen_voice, unseen_speed=unseen_speed)


def states(count: int = SIZES["state"]) -> Iterator[Sample]:
    """`count` samples of each state; the last turn's is `sample.state`. About a third have a picture."""
    for index in range(count):
        plain = world().question(index) if index % 3 == 0 else world().small_talk(index)
        yield plain
        yield spoken_if(plain, ("state", index), spoken=True, unseen_voice=index % 4 == 0)
        yield world().negative(index)


def ends_of_turns(count: int = SIZES["end_of_turn"]) -> Iterator[Sample]:
    """`count` dialogues whose last question is complete, and as many where it is cut short, in unseen voices; the last
    message tells."""
    for index in range(count):
        for sort in ("whole", "cut"):
            yield cut_question(world(), index, sort, unseen_voice=True)


def answers(count: int = SIZES["answer"]) -> Iterator[str]:
    """Answers to be spoken."""
    for index in range(count):
        yield world().answer_text(index)
