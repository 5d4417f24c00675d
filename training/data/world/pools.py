"""Pools of clips in natural voices: bounded, so that slow speech is made once and then found in the cache.

Notable points:
- A clip is a question, or a text that asks nothing, and a voice. The pitch, the room and the noise are drawn anew for
  every sample that it is used in.
- Each engine has clips of its own: Kokoro, which takes two seconds for one, a few hundred; the fast ones thousands.
- `GROUP` clips in a row are in one voice: those of a dialogue, and those that are said one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from training.data.world import outside
from training.data.world.overheard import overheard
from training.data.world.plans import Question
from training.data.world.questions import PICTURE_KINDS, ask, ask_moves
from training.data.world.scenes import scene_of
from training.data.world.sentences import answer, shuffled_words
from training.data.world.smalltalk import small_talk
from training.data.world.splits import belongs, generator
from training.data.world.unaddressed import backchannel, unaddressed
from training.data.world.videos import draw_motion
from training.data.world.vocabulary import one_spelling
from training.data.world.voices import Voice, draw_voice_of, natural_engines
from training.data.world.word_dropout import drop_words

NATURAL = 2 / 3  # of the speech; the rest is espeak-ng's
SHARES = {"kokoro": 45, "flite": 30, "hibari": 25}  # how often an engine speaks, of what is natural
TIMES = {"kokoro": 1, "flite": 8, "hibari": 12}  # clips of an engine, for one of Kokoro's
GROUP = 8
FEW = (1, 2, 3, 4)  # shapes in the scenes that questions are drawn from: they fit others of as many and more
DROPPED = "dropped_questions"  # about pictures, with some function words left out
# Of natural voices: a third as they are, the others with a larger or a smaller throat (`speech.throat`).
NORMAL, PITCHES, UNCHANGED = 50, (0, 100), 1 / 3


def silent(kind: str, text: str) -> Question:
    """A text that asks nothing."""
    return Question(kind, kind, text, "")


def about_a_picture(rng: Random, kind: str = "") -> Question:
    """Of any kind that has an answer, or of this kind."""
    while not (asked := ask(scene_of(rng, "train", FEW), kind or rng.choice(PICTURE_KINDS), "train", rng)):
        pass
    return asked


def about_a_video(rng: Random) -> Question:
    motion = draw_motion(rng, "train")
    return ask_moves(motion.asked.thing, motion.asked.direction, motion.other is None, "train", rng)


# Pool → what its clips say, and how many of them Kokoro says.
SORTS: dict[str, tuple[Callable[[Random], Question], int]] = {
    "shuffled_words": (lambda rng: silent("shuffled_words", shuffled_words(rng)), 256),
    "answers": (lambda rng: silent("answer", answer("train", rng)), 64),
    "picture_questions": (about_a_picture, 240),
    DROPPED: (about_a_picture, 48),
    "video_questions": (about_a_video, 32),
    "small_talk": (lambda rng: small_talk("train", rng), 120),
    "outside": (lambda rng: outside.ask("train", rng), 48),
    "absent": (lambda rng: about_a_picture(rng, "absent"), 32),
    "unaddressed": (lambda rng: silent("unaddressed", unaddressed("train", rng)), 64),
    "overheard": (lambda rng: silent("overheard", overheard("train", rng)), 48),
    "backchannel": (lambda rng: silent("backchannel", backchannel("train", rng)), 64),
}
# Of sentences, how often one is from each pool.
SENTENCES = {
    "picture_questions": 6, "absent": 1, "video_questions": 1, "small_talk": 4, "outside": 2, "unaddressed": 2,
    "answers": 1.5,
}  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """What is said, and who says it."""

    question: Question
    voice: Voice
    text: str  # the question's, or what word dropout leaves of it; in the spelling of transcripts


@dataclass(frozen=True)
class Pool:
    """Clips of one of `SORTS`, in the voices of some engines."""

    name: str
    seed: int
    engines: tuple[str, ...]

    def draw(self, rng: Random) -> Iterator[Clip]:
        """Clips in one voice, each once, in random order."""
        engine = rng.choices(self.engines, [SHARES[engine] for engine in self.engines])[0]
        first = GROUP * rng.randrange(self.size(engine) // GROUP)
        pitch = NORMAL if rng.random() < UNCHANGED else rng.randint(*PITCHES)
        return (self.clip(engine, number, pitch) for number in rng.sample(range(first, first + GROUP), GROUP))

    def clip(self, engine: str, number: int, pitch: int = NORMAL) -> Clip:
        ask, _ = SORTS[self.name]
        voice = draw_voice_of(engine, generator(self.seed, "pool voice", self.name, engine, number // GROUP))
        rng = generator(self.seed, "pool", self.name, engine, number)
        question = ask(rng)
        dropped = drop_words(question.text, rng) if self.name == DROPPED else question.text
        text = dropped if belongs(dropped, "train") else question.text
        return Clip(question, replace(voice, pitch=pitch), one_spelling(text))

    def size(self, engine: str) -> int:
        return TIMES[engine] * SORTS[self.name][1]

    def __iter__(self) -> Iterator[Clip]:
        return (self.clip(engine, number) for engine in self.engines for number in range(self.size(engine)))


@dataclass(frozen=True)
class Pools:
    """All pools under one seed; none has a clip where no natural engine is installed."""

    seed: int
    engines: tuple[str, ...]

    def __getitem__(self, name: str) -> Pool:
        return Pool(name, self.seed, self.engines)

    def natural(self, rng: Random) -> bool:
        """Whether a sample is spoken by a natural voice."""
        return rng.random() < NATURAL and bool(self.engines)


def pools(seed: int) -> Pools:
    """The pools of a training, in the voices of the engines that are installed."""
    return Pools(seed, natural_engines())


def utterances(seed: int) -> Iterator[tuple[str, Voice]]:
    """Every text of every pool with its voice: what the whole recipe has said by natural engines."""
    return ((clip.text, clip.voice) for name in SORTS for clip in pools(seed)[name])
