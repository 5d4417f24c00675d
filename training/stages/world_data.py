"""What a stage of `nano` learns from: the sources of the recipe's mixtures, the held-out probe, the tokenizer.

The strings given to `World.rng` seed random numbers. Another string would give other samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from random import Random

from tokenizers import Tokenizer

from parley.config import LanguageConfig
from parley.models.parley import Parley
from training.data.mixture import Mixture
from training.data.sample import Sample
from training.data.tokenizer import train_tokenizer
from training.data.transcribed import Transcribed
from training.data.world import World
from training.data.world.cut_questions import cut_question
from training.data.world.natural import SHUFFLED, natural, negative, transcribed_clips
from training.data.world.natural_cuts import natural_cut
from training.data.world.pools import Pools, pools
from training.data.world.questions import PICTURE_KINDS
from training.data.world.recording import lightly_recorded, recorded
from training.data.world.refusals import absent_video, no_picture, outside_talk
from training.data.world.sentences import corpus, question, shuffled_words
from training.data.world.speech.engines import missing
from training.data.world.splits import belongs
from training.data.world.spoken import audio_part, say, speak_questions
from training.data.world.transcribed import AnswerClauses, CleanSentences, RecordedSentences
from training.data.world.two_pictures import two_pictures
from training.data.world.voices import ANSWER, NATURAL_SEEN, draw_natural_voice, draw_voice, may_speak, natural_engines
from training.data.world.word_dropout import drop_words
from training.data.world.world import LOOKUPS, WORD_DROPOUT_WEIGHTS, to_messages
from training.recipe import Schedule, Stage

PROBE_SIZE = 24  # held-out samples of each kind in a validation
ABSENT_VIDEO = 6  # one in so many videos does not have what is asked about
WORD_DURATION = (2, 7)  # speech embeddings of a spoken word, at 12.5 a second
# The first of 2.1b's samples are espeak-ng's, in quiet places: as in 2.1a, it is learned sooner so.
EASY_TRANSCRIPTIONS = 8_000
PROBED_AS = {  # sources that are measured by the probe of another one
    "single_questions": "questions",
    "plain_questions": "questions",
    "word_dropout_questions": "questions",
    "plain_copies": "copies",
    "spoken_single_questions": "spoken_questions",
    "spoken_word_dropout_questions": "spoken_questions",
}


@dataclass
class WorldData:
    """The data of one stage under one seed."""

    stage: Stage
    schedule: Schedule
    seed: int
    tokenizer: Tokenizer | None

    @property
    def spoken(self) -> bool:
        return bool({"speech_encoder", "codec_encoder"} & {*self.stage.loads})

    @property
    def fingerprint(self) -> str:
        """What the data are, beside the seed: where something is said, the engines that say it."""
        return "nano's world" + (f"/{', '.join(('espeak-ng', *natural_engines()))}" if self.spoken else "")

    @property
    def remarks(self) -> list[str]:
        """What is missing: natural engines that are not installed."""
        lacking = [(name, missing(name)) for name in NATURAL_SEEN if self.spoken and may_speak(name)]
        return [
            f"stage {self.stage.name} learns without {name}'s speech; it needs {why}" for name, why in lacking if why
        ]

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
        """A few held-out samples of every kind in the stage's mixture."""
        size = min(PROBE_SIZE, self.schedule.steps)  # a short trial has a short validation
        names = dict.fromkeys(PROBED_AS.get(name, name) for name in self.schedule.mixture)
        if "spoken_questions" in names and natural_engines(unseen=True):
            names |= {"natural_questions": None}
        return [sample for name in names for sample in probe(name, self.heldout, size)]

    def speech(self, model: Parley) -> Transcribed:
        """What the stages of speech alone learn from."""
        rate = model.config.codec.sample_rate
        match self.stage.objective:
            case "ctc":
                return RecordedSentences(self.seed, self.schedule.mixture)
            case "codec":
                return CleanSentences(self.seed, rate, ANSWER)
        return AnswerClauses(self.seed, rate, ANSWER)

    def counts(self, samples: int) -> dict[str, int]:
        """How many of the first `samples` come from each source."""
        if self.stage.objective == "next_token":
            return self.mixture.counts(samples)
        return {name: samples for name in self.schedule.mixture}


def sources(world: World) -> dict[str, Callable[[int], Sample]]:
    """The world's samples by the names that the recipe uses."""
    return text_sources(world) | speech_sources(world)


def text_sources(world: World) -> dict[str, Callable[[int], Sample]]:
    """Sources in which nothing is spoken. `plain` questions come in few wordings, `plain_outside` without a picture.

    Plain questions are about pictures in the usual style: first it is learned where to look, then what else there is.
    """
    usual = replace(world, usual=1.0)
    return {
        "questions": lambda i: world.dialog(i, turns=8, small_talk_share=0.0, captioned=0.0),
        "plain_questions": lambda i: usual.dialog(i, turns=8, small_talk_share=0.0, captioned=0.0, plain=True),
        "lookups": lambda i: usual.single(i, LOOKUPS, plain=True),
        "single_questions": world.single,
        "word_dropout_questions": lambda i: word_dropout_question(world, i),
        "captions": world.caption_variants,
        "two_pictures": lambda i: two_pictures(world, i),
        "videos": lambda i: absent_video(world, i) if i % ABSENT_VIDEO == 0 else world.video(i, turns=3),
        "small_talk": lambda i: world.small_talk(i, turns=6),
        "no_picture": lambda i: no_picture(world, i, turns=2),
        "outside": lambda i: outside_talk(world, i, turns=3),
        "plain_outside": lambda i: outside_talk(world, 2 * i, turns=4),
        "duration_repeated_questions": lambda i: repeat_words(world.single(i), world.rng("slow question", i)),
        "duration_repeated_talk": lambda i: repeat_words(talk(world, i), world.rng("slow talk", i)),
        "copies": lambda i: copies(world, i),
        "plain_copies": lambda i: copies(world, i, plain=True),
        "duration_repeated_copies": lambda i: repeat_words(copies(world, i, turns=2), world.rng("slow repeat", i)),
    }


def speech_sources(world: World) -> dict[str, Callable[[int], Sample]]:
    """Sources with speech. In most dialogues some questions are written, so that one goes from one to the other.

    Two thirds of the training split are spoken by natural voices, where these are installed (`world.natural`).
    """
    voices = pools(world.seed) if world.split == "train" else Pools(world.seed, ())
    made = {
        "spoken_single_questions": lambda i: spoken(world, i, world.single(i), share=1.0),
        "spoken_word_dropout_questions": lambda i: spoken(world, i, word_dropout_question(world, i), share=1.0),
        "spoken_two_pictures": lambda i: spoken(world, i, two_pictures(world, i), share=0.75),
        "spoken_small_talk": lambda i: spoken(world, i, world.small_talk(i, turns=4), share=0.75),
        "spoken_no_picture": lambda i: spoken(world, i, no_picture(world, i, turns=2), share=0.75),
        "spoken_outside": lambda i: spoken(world, i, outside_talk(world, i, turns=2), share=0.75),
        "spoken_videos": lambda i: spoken(world, i, world.video(i, turns=2), share=0.75),
        "negatives": lambda i: spoken(world, i, world.small_talk(i, turns=2), share=0.75, negatives=0.6),
    }
    either = {name: partial(natural_or, world, voices, name, make) for name, make in made.items()}
    return either | {
        # A dialogue in which some turns must not be answered, or such a turn after a single question at most.
        "negatives": lambda i: negative(world, voices, i) if i % 2 else either["negatives"](i),
        "transcriptions": lambda i: transcription(world, voices, i),
        "spoken_questions": lambda i: spoken(
            world, i, world.dialog(i, turns=5, small_talk_share=0.1, captioned=0.0), share=0.6
        ),
        "cut_questions": lambda i: natural_cut(world, voices, i) or cut_question(world, i),
    }


def natural_or(world: World, voices: Pools, name: str, make: Callable[[int], Sample], index: int) -> Sample:
    """A sample of a source in a natural voice, or in one of espeak-ng's, as `make` makes it."""
    return natural(world, voices, name, index) or make(index)


def talk(world: World, index: int) -> Sample:
    """Questions without a picture: small talk, some outside the world, or about a picture that is not there."""
    match index % 3:
        case 0:
            return world.small_talk(index, turns=3)
        case 1:
            return outside_talk(world, 2 * index, turns=2)
    return no_picture(world, index, turns=2)


def copies(world: World, index: int, turns: int = 4, plain: bool = False) -> Sample:
    """Requests to say a text: later the speech prompt asks for a transcript in the same way."""
    rng = world.rng("repeats", index)
    texts = [
        shuffled_words(rng) if rng.random() < 0.4 else question(world.split, rng, plain=plain).text
        for _ in range(turns)
    ]
    return Sample(to_messages([(f"say, {text}", text) for text in texts]), "copy")


def word_dropout_question(world: World, index: int) -> Sample:
    """A question without some of its function words, so that whole sentences cannot be learned by heart. What is left
    is never a sentence of the other split."""
    rng, sample = world.rng("hasty question", index), world.single(index, WORD_DROPOUT_WEIGHTS)
    asked = sample.messages[0]
    content = [
        {**part, "text": drop_words(part["text"], rng)} if part["type"] == "text" else part for part in asked["content"]
    ]
    if not all(belongs(part["text"], world.split) for part in content if part["type"] == "text"):
        return sample
    return replace(sample, messages=[{**asked, "content": content}, *sample.messages[1:]])


def repeat_words(sample: Sample, rng: Random) -> Sample:
    """The sample with each word of its questions repeated as often as a spoken word has embeddings: "what what what is
    is the the the …". A language model that has only read one token a word cannot read speech embeddings."""
    messages = [
        message
        if message["role"] == "assistant"
        else {**message, "content": [_with_repeated_words(part, rng) for part in message["content"]]}
        for message in sample.messages
    ]
    return replace(sample, messages=messages)


def _with_repeated_words(part: dict, rng: Random) -> dict:
    """A message part; text loses its punctuation, which speech does not have."""
    if part["type"] != "text":
        return part
    words = [word.strip(".,?") for word in part["text"].split()]
    return {**part, "text": " ".join(word for word in words for _ in range(rng.randint(*WORD_DURATION)))}


def transcription(world: World, voices: Pools, index: int) -> Sample:
    """Two spoken sentences and their transcripts."""
    rng, easy = world.rng("transcription", index), world.split == "train" and index < EASY_TRANSCRIPTIONS
    if not easy and voices.natural(rng):
        return transcribed_clips(voices, rng)
    voice, record, messages = draw_voice(rng), lightly_recorded if easy else recorded, []
    for _ in range(2):
        text = shuffled_words(rng) if rng.random() < SHUFFLED else question(world.split, rng).text
        speech = {"role": "user", "content": [audio_part(say(text, voice, rng, record))]}
        messages += [speech, {"role": "assistant", "content": text}]
    return Sample(messages, "transcription", "speech")


def spoken(world: World, index: int, sample: Sample, **how) -> Sample:
    """The sample with some of its questions spoken; see `speak_questions`."""
    return speak_questions(sample, world.split, world.rng("spoken", sample.task, index), **how)


def probe(source: str, world: World, size: int = PROBE_SIZE) -> list[Sample]:
    """Held-out samples of one source, one question each, so that every kind is measured alone."""
    match source:
        case "questions":
            return [world.question(i, kind) for kind in (*PICTURE_KINDS, "absent") for i in range(size)]
        case "lookups":
            usual = replace(world, usual=1.0)
            return [usual.question(i, kind, plain=True) for kind in LOOKUPS for i in range(size)]
        case "small_talk":
            return [of_kind(source, world.small_talk(i)) for i in range(2 * size)]
        case "spoken_questions":
            asked = [world.question(1000 + i) for i in range(3 * size)]
            return [of_kind("spoken", spoken(world, i, sample, share=1.0)) for i, sample in enumerate(asked)]
        case "natural_questions":
            return [of_kind(source, natural_question(world, i)) for i in range(2 * size)]
        case "spoken_small_talk":
            asked = [world.small_talk(1000 + i) for i in range(2 * size)]
            return [of_kind(source, spoken(world, i, sample, share=1.0)) for i, sample in enumerate(asked)]
        case "captions":
            return [of_kind(source, world.caption(i)) for i in range(size)]
    return [of_kind(source, sources(world)[source](i)) for i in range(size)]


def natural_question(world: World, index: int) -> Sample:
    """A question spoken by a natural voice that is held out."""
    rng, sample = world.rng("natural question", index), world.question(2000 + index)
    voice = draw_natural_voice(rng, unseen=True)
    return speak_questions(sample, world.split, rng, share=1.0, voice=voice, record=lightly_recorded)


def of_kind(kind: str, sample: Sample) -> Sample:
    """The sample, counted under one kind."""
    return replace(sample, about=sample.about | {"kind": kind})


def first_tokenizer(config: LanguageConfig, seed: int) -> Tokenizer:
    """The tokenizer of a model that starts from nothing."""
    return train_tokenizer(corpus(seed=seed), config)
