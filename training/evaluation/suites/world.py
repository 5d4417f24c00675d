"""The measures of nano's world: held-out questions, speech and states, each with its bar and with what guessing gives.

The held-out sets are those of `training.data.world.heldout`, the same for every checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import soxr

from parley.config import STATES
from parley.models.parley import Parley
from training.data.world import heldout
from training.data.world.questions import PICTURE_KINDS, chance, words_of
from training.data.world.recogniser import SAMPLE_RATE, Recogniser
from training.data.world.speech import speak
from training.data.world.voices import ANSWER
from training.evaluation.suites import answers
from training.evaluation.suites.answers import ends_of_turns, mean, percent, percent_by_kind, percent_of_states, right
from training.evaluation.suites.recognition import word_error_rate
from training.evaluation.suites.synthesis import codec_error_rate, speech_error_rate
from training.evaluation.table import Measure

SEED = heldout.SEEDS[0]
MEAN_OVER_KINDS = 0  # index of that measure among those of `picture_measures`
VISION = {"vision_encoder", "vision_adapter", "language"}


def measures(model: Parley, parts: set[str], count: int) -> list[Measure]:
    """All measures that a model with these parts allows; `count` samples of each kind of question."""
    suite = (
        (VISION, picture_measures),
        ({"speech_adapter", "vision_adapter", "state_head", "language"}, spoken_measures),
        ({"vision_adapter", "language"}, video_measures),
        ({"ctc_head"}, transcription_measures),
        ({"state_head"}, state_measures),
        ({"end_of_turn_head", "speech_adapter", "language"}, end_of_turn_measures),
        ({"codec_encoder", "codec_decoder"}, codec_measures),
        ({"speech_decoder", "codec_decoder"}, speaking_measures),
    )
    return [measure for needed, measured in suite if needed <= parts for measure in measured(model, count)]


def picture_measures(model: Parley, count: int) -> list[Measure]:
    """Written questions about pictures. The first measure is the mean over kinds."""
    samples = list(heldout.questions(SEED, count))
    return answers.question_measures(
        model, samples, "picture questions, text in", mean_bar=95.0, worst_bar=85.0, chance=chance
    )


def spoken_measures(model: Parley, count: int) -> list[Measure]:
    """Spoken questions about pictures, and spoken small talk."""
    guess = mean({kind: 100 * chance(kind) for kind in PICTURE_KINDS})
    made = []
    for name, bar, unseen in (("seen", 90.0, False), ("unseen", 80.0, True)):
        values = percent_by_kind(model, list(heldout.questions(SEED, count, spoken=True, unseen_voice=unseen)))
        title = f"picture questions, spoken: {name} voices"
        made.append(Measure(title, mean(values), count * len(values), bar, chance=guess))
    each = max(1, count * 4 // 10)
    values = percent_by_kind(model, list(heldout.small_talk(SEED, each)))
    return [*made, Measure("small talk, spoken", mean(values), each * len(values), 95.0, chance=0.0)]


def video_measures(model: Parley, count: int) -> list[Measure]:
    samples = list(heldout.videos(SEED, 3 * count))
    found = percent(right(model, samples))
    return [Measure("video: which way it moves", found, len(samples), 90.0, chance=25.0)]


def transcription_measures(model: Parley, count: int) -> list[Measure]:
    """Transcripts of unseen sentences, in voices and at speeds that training had or had not."""
    made = []
    for name, bar, how in (
        ("seen voices", 3.0, {}),
        ("unseen voices", 8.0, {"unseen_voice": True}),
        ("unseen speeds", 12.0, {"unseen_speed": True}),
    ):
        utterances = [(said.audio, said.text) for said in heldout.transcription(SEED, 3 * count, **how)]
        title = f"transcription WER, unseen sentences: {name}"
        made.append(Measure(title, word_error_rate(model, utterances), len(utterances), bar, at_most=True))
    return made


def state_measures(model: Parley, count: int) -> list[Measure]:
    """The state of the last turn: a third each of written questions, spoken ones, and turns without an answer."""
    samples = list(heldout.states(SEED, count))
    found, guess = percent_of_states(model, samples), 100 / len(STATES)
    return [Measure("state: speech / text / nothing to answer", found, len(samples), 98.0, chance=guess)]


def end_of_turn_measures(model: Parley, count: int) -> list[Measure]:
    """Complete questions and as many that are cut short, both with little silence behind them, in unseen voices."""
    found = ends_of_turns(model, list(heldout.ends_of_turns(SEED, 3 * count)))
    shares = {name: percent(right) for name, right in found.items()}
    title, n = "end of turn: questions known as complete or cut short, unseen voices", 6 * count
    rows = [Measure(f"· {name}", share, len(found[name])) for name, share in shares.items()]
    return [Measure(title, mean(shares), n, 95.0, chance=50.0), *rows]


def codec_measures(model: Parley, count: int) -> list[Measure]:
    """Held-out answers, spoken by the synthesizer in the voice of the answers, encoded and decoded."""
    lost = codec_error_rate(model, _spoken_answers(count, model.config.codec.sample_rate), recognise)
    return [Measure("codec: WER of decoded speech above the original's", lost, count, 3.0, at_most=True)]


def speaking_measures(model: Parley, count: int) -> list[Measure]:
    """Held-out answers, spoken by the model."""
    wrong = speech_error_rate(model, heldout.answers(SEED, count), words_of, recognise)
    return [Measure("spoken answers: WER", wrong, count, 6.0, at_most=True)]


def picture_score(model: Parley, count: int) -> float:
    """The mean over kinds of written questions about pictures, in percent."""
    return picture_measures(model, count)[MEAN_OVER_KINDS].value


def recognise(audio: np.ndarray, rate: int) -> str:
    """The words that the independent recogniser understands."""
    return _recogniser().transcribe(soxr.resample(np.asarray(audio, np.float32), rate, SAMPLE_RATE))


def _spoken_answers(count: int, rate: int) -> Iterator[tuple[str, np.ndarray]]:
    for text in heldout.answers(SEED, count):
        yield " ".join(words_of(text)), speak(text, ANSWER, rate)


@cache
def _recogniser() -> Recogniser:
    return Recogniser()
