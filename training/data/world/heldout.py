"""The held-out sets that a model is judged by: one list a measure, the same for every checkpoint.

Notable points:
- Sizes are in `SIZES`; a set is made when it is asked for, from the held-out split of seed `SEED`.
- The spoken questions are the written ones of the same index, spoken: what is lost is lost by speech.
- A scene is never one of training's, nor a sentence, except the few without a gap to fill ("what is written?").
- `unseen_voice` and `unseen_speed` change one thing at a time; what is transcribed is never one of training's.
"""

from __future__ import annotations

from collections.abc import Iterator

from training.data.records import Sample
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
    "answer": 200,
}


def world() -> World:
    return World(SEED, "heldout")


def questions(spoken: bool = False, unseen_voice: bool = False, count: int = SIZES["question"]) -> Iterator[Sample]:
    """`count` picture questions of each kind; `about["kind"]` tells which."""
    for kind in PICTURE_KINDS:
        for index in range(count):
            yield asked(world().question(index, kind), ("question", kind, index), spoken, unseen_voice)


def small_talk(spoken: bool = True, unseen_voice: bool = False, count: int = SIZES["small_talk"]) -> Iterator[Sample]:
    """`count` questions of each kind of small talk."""
    for kind in SMALL_TALK_KINDS:
        for index in range(count):
            yield asked(world().small_talk(index, kind=kind), ("small talk", kind, index), spoken, unseen_voice)


def videos(spoken: bool = False, unseen_voice: bool = False, count: int = SIZES["video"]) -> Iterator[Sample]:
    """Which way does it move?"""
    for index in range(count):
        yield asked(world().video(index), ("video", index), spoken, unseen_voice)


def asked(sample: Sample, name: tuple, spoken: bool, unseen_voice: bool) -> Sample:
    """The sample, or its spoken version."""
    if not spoken:
        return sample
    return speak_questions(sample, "heldout", world().rng("asked", *name), share=1.0, unseen_voice=unseen_voice)


def transcription(
    unseen_voice: bool = False, unseen_speed: bool = False, count: int = SIZES["transcription"]
) -> Iterator[Utterance]:
    """Sentences that training never had, in voices and at speeds that it had or had not."""
    for index in range(count):
        yield world().utterance(index, words=0.0, unseen_voice=unseen_voice, unseen_speed=unseen_speed)


def states(count: int = SIZES["state"]) -> Iterator[Sample]:
    """`count` samples of each state; the last turn's is `sample.state`. About a third have a picture."""
    for index in range(count):
        plain = world().question(index) if index % 3 == 0 else world().small_talk(index)
        yield plain
        yield asked(plain, ("state", index), spoken=True, unseen_voice=index % 4 == 0)
        yield world().negative(index)


def answers(count: int = SIZES["answer"]) -> Iterator[str]:
    """What the model should be able to say aloud."""
    for index in range(count):
        yield world().answer_text(index)
