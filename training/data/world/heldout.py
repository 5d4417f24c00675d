"""The held-out sets of the evaluation: one function a condition, `NAME(seed, count)`, the same samples for every
checkpoint.

Notable points:
- Sets are made when they are asked for, from the held-out split. A row of the evaluation is its mean over `SEEDS`.
- `count` is the number of samples of one seed, or of each kind, state or half of it where the function says so.
- The spoken questions are the written ones of the same index, so that only speech makes the difference.
- No scene and no sentence is in the training split, except sentences without a gap ("what is written?").
- `unseen_voice` and `unseen_speed` change one thing at a time; no transcribed sentence is in the training split.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from training.data.sample import Sample
from training.data.world.cut_questions import cut_question
from training.data.world.hands import Hand, question_by, two_moving
from training.data.world.questions import PICTURE_KINDS
from training.data.world.recording import Recording, lightly_recorded, noisy, telephone
from training.data.world.refusals import absent_question, no_picture, outside_talk
from training.data.world.sentences import SMALL_TALK, strings_in
from training.data.world.smalltalk import SMALL_TALK_KINDS
from training.data.world.spoken import Utterance, speak_questions
from training.data.world.two_pictures import two_pictures
from training.data.world.voices import Voice, draw_natural_voice
from training.data.world.wordings import SEEN, UNSEEN
from training.data.world.world import World

SEEDS = (2026, 2027, 2028)
GAPLESS = frozenset(strings_in(SMALL_TALK))


def world(seed: int) -> World:
    """Pictures in the usual style; other conditions say how theirs are drawn."""
    return World(seed, "heldout", usual=1.0)


def questions(seed: int, count: int, spoken: bool = False, unseen_voice: bool = False) -> Iterator[Sample]:
    """`count` picture questions of each kind; `about["kind"]` tells which."""
    made = world(seed)
    for kind in PICTURE_KINDS:
        for index in range(count):
            yield spoken_if(made, made.question(index, kind), ("question", kind, index), spoken, unseen_voice)


def small_talk(seed: int, count: int, spoken: bool = True, unseen_voice: bool = False) -> Iterator[Sample]:
    """`count` questions of each kind of small talk."""
    made = world(seed)
    for kind in SMALL_TALK_KINDS:
        for index in range(count):
            asked = made.small_talk(index, kind=kind)
            yield spoken_if(made, asked, ("small talk", kind, index), spoken, unseen_voice)


def in_both_splits(sample: Sample) -> bool:
    """Whether the question of small talk is a sentence without a gap, which training has too."""
    return sample.messages[0]["content"][0].get("transcript") in GAPLESS


def videos(seed: int, count: int, spoken: bool = False, unseen_voice: bool = False) -> Iterator[Sample]:
    """Which way does it move?"""
    made = world(seed)
    for index in range(count):
        yield spoken_if(made, made.video(index), ("video", index), spoken, unseen_voice)


def spoken_if(made: World, sample: Sample, name: tuple, spoken: bool, unseen_voice: bool) -> Sample:
    """The sample, or its spoken version."""
    if not spoken:
        return sample
    rng = made.rng("asked", *name)
    return speak_questions(sample, made.split, rng, share=1.0, unseen_voice=unseen_voice, record=lightly_recorded)


def transcription(seed: int, count: int, unseen_voice: bool = False, unseen_speed: bool = False) -> Iterator[Utterance]:
    """Sentences that are not in the training split, in seen or unseen voices, at seen or unseen speeds."""
    for index in range(count):
        yield world(seed).utterance(index, unseen_voice, unseen_speed, record=lightly_recorded)


def natural_transcription(seed: int, count: int) -> Iterator[Utterance]:
    """Sentences that are not in the training split, in natural voices that training does not hear."""
    made = world(seed)
    for index in range(count):
        yield made.utterance(index, voice=natural_voice(made, "utterance", index), record=lightly_recorded)


def natural_questions(seed: int, count: int, record: Recording = lightly_recorded) -> Iterator[Sample]:
    """Picture questions, the kinds in turn, in natural voices that training does not hear. The speech is the same for
    each way to record it."""
    made = world(seed)
    for index in range(count):
        kind = PICTURE_KINDS[index % len(PICTURE_KINDS)]
        voice = natural_voice(made, "question", index)
        asked, rng = made.question(index, kind), made.rng("asked naturally", index)
        yield speak_questions(asked, made.split, rng, share=1.0, voice=voice, record=record)


def telephone_questions(seed: int, count: int) -> Iterator[Sample]:
    """The same from a telephone."""
    return natural_questions(seed, count, telephone)


def noisy_questions(seed: int, count: int) -> Iterator[Sample]:
    """The same, 10 dB louder than what sounds behind them."""
    return natural_questions(seed, count, lambda audio, rng: noisy(audio, 10.0, rng))


def natural_voice(made: World, *names: object) -> Voice:
    """A natural voice that training does not hear."""
    return draw_natural_voice(made.rng("natural voice", *names), unseen=True)


def states(seed: int, count: int) -> Iterator[Sample]:
    """`count` samples of each state; the last turn's is `sample.state`. About a third have a picture."""
    made = world(seed)
    for index in range(count):
        plain = made.question(index) if index % 3 == 0 else made.small_talk(index)
        yield plain
        yield spoken_if(made, plain, ("state", index), spoken=True, unseen_voice=index % 4 == 0)
        yield made.negative(index, record=lightly_recorded)


def unanswered(seed: int, count: int, sort: str) -> Iterator[Sample]:
    """Turns of one of the sorts `spoken.NEGATIVES`, which must not be answered. What is said is said by natural voices
    that training does not hear."""
    made = world(seed)
    for index in range(count):
        voice = natural_voice(made, sort, index)
        yield made.negative(index, voice=voice, record=lightly_recorded, sort=sort)


def ends_of_turns(seed: int, count: int) -> Iterator[Sample]:
    """`count` dialogues whose last question is complete, and as many where it is cut short, in unseen voices; the last
    message tells."""
    for index in range(count):
        for sort in ("whole", "cut"):
            yield cut_question(world(seed), index, sort, unseen_voice=True, record=lightly_recorded)


def natural_ends_of_turns(seed: int, count: int) -> Iterator[Sample]:
    """The same in natural voices that training does not hear."""
    made = world(seed)
    for index in range(count):
        for sort in ("whole", "cut"):
            voice = natural_voice(made, "end of turn", index)
            yield cut_question(made, index, sort, voice=voice, record=lightly_recorded)


def answers(seed: int, count: int) -> Iterator[str]:
    """Different answers to be spoken, none of which the speech decoder has learned to speak."""
    made, given = world(seed), set()
    for index in itertools.count():
        if len(given) == count:
            return
        if (text := made.answer_text(index)) not in given:
            given.add(text)
            yield text


def newcomers_questions(seed: int, count: int) -> Iterator[Sample]:
    """Picture questions in a newcomer's words, the kinds in turn. Half are in wordings that training does not have
    ("can you find the star?"), half are unseen sentences of wordings that it has ("what color is the object at …?")."""
    made = world(seed)
    for index in range(count):
        kind = PICTURE_KINDS[index // 2 % len(PICTURE_KINDS)]
        whole = index % 2 == 0 or kind == "written"  # whose other wordings have no gap
        yield made.question(index, kind, UNSEEN if whole else SEEN)


def another_picture(seed: int, count: int) -> Iterator[Sample]:
    """Questions about the second picture of a dialogue."""
    made = world(seed)
    for index in range(count):
        yield two_pictures(made, index)


def absent(seed: int, count: int) -> Iterator[Sample]:
    """Questions about what the picture, or the video, does not have."""
    made = world(seed)
    for index in range(count):
        yield absent_question(made, index)


def without_picture(seed: int, count: int) -> Iterator[Sample]:
    """Questions about a picture where none was given, every other one after another question."""
    made = world(seed)
    for index in range(count):
        yield no_picture(made, index, turns=1 + index % 2)


def outside_the_world(seed: int, count: int) -> Iterator[Sample]:
    """Questions and requests outside the world, with words or templates that training does not have there; in every
    other one after a picture."""
    made = world(seed)
    for index in range(count):
        yield outside_talk(made, index, turns=1 + index // 2 % 2)


def pictures_by(seed: int, count: int, hand: Hand) -> Iterator[Sample]:
    """Questions of all kinds in turn about pictures that another hand drew, one of `hands.HANDS`."""
    made = world(seed)
    for index in range(count):
        yield question_by(hand, made, index)


def two_movers(seed: int, count: int) -> Iterator[Sample]:
    """Which way does it move, where another thing moves another way?"""
    made = world(seed)
    for index in range(count):
        yield two_moving(made, index)
