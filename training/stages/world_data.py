"""What a stage of `nano` learns from: its sources, its probe of held-out samples, its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from tokenizers import Tokenizer

from parley.config import LanguageConfig
from training.data.mixture import Mixture
from training.data.records import Sample
from training.data.tokenizer import train_tokenizer
from training.data.world import World
from training.data.world.questions import PICTURE_KINDS
from training.data.world.sentences import corpus, question, shuffled_words
from training.data.world.splits import belongs
from training.data.world.spoken import audio_part, say, speak_questions
from training.data.world.voices import ANSWER, draw_voice
from training.data.world.world import HASTY_WEIGHTS, LOOKUPS, converse
from training.recipe import Schedule, Stage

PROBE_SIZE = 24  # held-out samples of each kind in a validation
LEFT_OUT = ("please", "tell", "me", "can", "you", "do", "see", "the", "is", "of")  # words that say nothing alone
WORD_VECTORS = (2, 7)  # of speech that a word takes, at 12.5 a second
PROBED_AS = {  # sources that one probe measures
    "single_questions": "questions",
    "plain_questions": "questions",
    "hasty_questions": "questions",
    "spoken_hasty_questions": "spoken_questions",
    "plain_repeats": "repeats",
    "spoken_single_questions": "spoken_questions",
}


@dataclass
class StageData:
    """One stage's data under one seed."""

    stage: Stage
    schedule: Schedule
    seed: int
    tokenizer: Tokenizer

    @cached_property
    def train(self) -> World:
        return World(self.seed, "train")

    @cached_property
    def heldout(self) -> World:
        return World(self.seed, "heldout")

    @cached_property
    def mixture(self) -> Mixture:
        return Mixture(self.schedule.mixture, sources(self.train), self.seed)

    @cached_property
    def probe(self) -> list[Sample]:
        """A few held-out samples of every kind the stage's mixture teaches."""
        size = min(PROBE_SIZE, self.schedule.steps)  # a quick trial is measured quickly too
        names = dict.fromkeys(PROBED_AS.get(name, name) for name in self.schedule.mixture)
        return [sample for name in names for sample in probe(name, self.heldout, size)]


def sources(world: World) -> dict[str, Callable[[int], Sample]]:
    """The world's samples by the names the recipe uses."""
    return {
        "questions": lambda i: world.dialog(i, turns=8, small_talk_share=0.0, captioned=0.0),
        "plain_questions": lambda i: world.dialog(i, turns=8, small_talk_share=0.0, captioned=0.0, plain=True),
        "lookups": lambda i: world.single(i, LOOKUPS, plain=True),
        "single_questions": world.single,
        "hasty_questions": lambda i: hasty(world, i),
        "captions": world.telling,
        "videos": lambda i: world.video(i, turns=3),
        "small_talk": lambda i: world.small_talk(i, turns=6),
        "slow_questions": lambda i: slowly(world.single(i), world.rng("slow question", i)),
        "repeats": lambda i: repeats(world, i),
        "plain_repeats": lambda i: repeats(world, i, plain=True),
        "slow_repeats": lambda i: slowly(repeats(world, i, turns=2), world.rng("slow repeat", i)),
        "transcriptions": lambda i: transcription(world, i),
        # Most of the questions are spoken, some written, so that one dialogue goes from writing to speaking and back.
        "spoken_questions": lambda i: spoken(
            world, i, world.dialog(i, turns=5, small_talk_share=0.1, captioned=0.0), share=0.6
        ),
        "spoken_single_questions": lambda i: spoken(world, i, world.single(i), share=1.0),
        "spoken_hasty_questions": lambda i: spoken(world, i, hasty(world, i), share=1.0),
        "spoken_small_talk": lambda i: spoken(world, i, world.small_talk(i, turns=4), share=0.75),
        "spoken_videos": lambda i: spoken(world, i, world.video(i, turns=2), share=0.75),
        "negatives": lambda i: negative(world, i),
    }


def negative(world: World, index: int) -> Sample:
    """A talk with turns that are not for us among those that are, or such a turn after a single question."""
    if index % 2:
        return world.negative(index)
    return spoken(world, index, world.small_talk(index, turns=2), share=0.75, negatives=0.6)


def repeats(world: World, index: int, turns: int = 4, plain: bool = False) -> Sample:
    """Saying again what was written: so that, asked by the speech prompt, the model can write down what it hears."""
    rng = world.rng("repeats", index)
    texts = [
        shuffled_words(rng) if rng.random() < 0.4 else question(world.split, rng, plain=plain).text
        for _ in range(turns)
    ]
    return Sample(converse([(f"say, {text}", text) for text in texts]), "repeat")


def hasty(world: World, index: int) -> Sample:
    """A question with some of its small words left out: who knows some hundred sentences by heart must read these. What
    is left is never a sentence of the other split."""
    rng, sample = world.rng("hasty question", index), world.single(index, HASTY_WEIGHTS)
    asked = sample.messages[0]
    content = [
        {**part, "text": hurried(part["text"], rng)} if part["type"] == "text" else part for part in asked["content"]
    ]
    if not all(belongs(part["text"], world.split) for part in content if part["type"] == "text"):
        return sample
    return replace(sample, messages=[{**asked, "content": content}, *sample.messages[1:]])


def hurried(text: str, rng: Random) -> str:
    """The text without one to three of the words that say nothing alone, if it has as many."""
    words = text.split()
    small = [place for place, word in enumerate(words) if word.strip(",") in LEFT_OUT]
    gone = rng.sample(small, min(len(small), rng.randint(1, 3)))
    return " ".join(word for place, word in enumerate(words) if place not in gone)


def slowly(sample: Sample, rng: Random) -> Sample:
    """The sample with what is asked written as slowly as it would be spoken, some vectors a word: "what what what is is
    the the the …". A language model that has read a word a token cannot read speech, however an adapter spells it."""
    messages = [
        message
        if message["role"] == "assistant"
        else {**message, "content": [slow_part(p, rng) for p in message["content"]]}
        for message in sample.messages
    ]
    return replace(sample, messages=messages)


def slow_part(part: dict, rng: Random) -> dict:
    """A message part, its words written again and again if it is text; speech has no punctuation."""
    if part["type"] != "text":
        return part
    words = [word.strip(".,?") for word in part["text"].split()]
    return {**part, "text": " ".join(word for word in words for _ in range(rng.randint(*WORD_VECTORS)))}


def transcription(world: World, index: int) -> Sample:
    """Two spoken sentences and what is said in them."""
    rng = world.rng("transcription", index)
    voice, messages = draw_voice(rng), []
    for _ in range(2):
        text = shuffled_words(rng) if rng.random() < 0.4 else question(world.split, rng).text
        heard = {"role": "user", "content": [audio_part(say(text, voice, rng))]}
        messages += [heard, {"role": "assistant", "content": text}]
    return Sample(messages, "transcription", "speech")


def spoken(world: World, index: int, sample: Sample, **how) -> Sample:
    """The sample with some of its questions spoken; see `speak_questions`."""
    return speak_questions(sample, world.split, world.rng("spoken", sample.task, index), **how)


def probe(source: str, world: World, size: int = PROBE_SIZE) -> list[Sample]:
    """Held-out samples of one source, one question each, so that every kind is measured alone."""
    if source in ("questions", "lookups"):
        kinds = LOOKUPS if source == "lookups" else PICTURE_KINDS
        return [world.question(i, kind) for kind in kinds for i in range(size)]
    if source == "small_talk":
        return [named("small_talk", world.small_talk(i)) for i in range(2 * size)]
    if source == "spoken_questions":
        asked = [world.question(1000 + i) for i in range(3 * size)]
        return [named("spoken", spoken(world, i, sample, share=1.0)) for i, sample in enumerate(asked)]
    if source == "spoken_small_talk":
        asked = [world.small_talk(1000 + i) for i in range(2 * size)]
        return [named("spoken_small_talk", spoken(world, i, sample, share=1.0)) for i, sample in enumerate(asked)]
    if source == "captions":
        return [named(source, world.caption(i)) for i in range(size)]
    return [named(source, sources(world)[source](i)) for i in range(size)]


def named(kind: str, sample: Sample) -> Sample:
    """The sample, counted under one kind."""
    return replace(sample, about=sample.about | {"kind": kind})


def answering_or_any(rng) -> tuple[str, int, int]:
    """Half of the codec's speech is in the voice that answers: it will write no other."""
    voice = ANSWER if rng.random() < 0.5 else draw_voice(rng)
    return voice.name, voice.wpm, voice.pitch


def first_tokenizer(config: LanguageConfig, seed: int) -> Tokenizer:
    """The tokenizer of a model that starts from nothing."""
    return train_tokenizer(corpus(seed=seed), config)
