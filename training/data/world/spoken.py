"""Speech in samples: spoken questions instead of written ones, and turns that must not be answered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.data.sample import Sample, parts, turn_states
from training.data.world import speech
from training.data.world.overheard import overheard
from training.data.world.recording import Recording, pad, padded, recorded
from training.data.world.sounds import sound_clip
from training.data.world.unaddressed import backchannel, unaddressed
from training.data.world.vocabulary import one_spelling
from training.data.world.voices import Voice, draw_voice

BETWEEN = (0.05, 0.5)  # seconds of silence between two texts of one recording
# What a turn is that must not be answered, and how often: sounds, and what somebody says to nobody or somebody else.
NEGATIVES = {
    "noise": 4, "music": 3, "babble": 1, "hum": 3, "cough or laugh": 3,
    "backchannel": 5, "overheard": 4, "unaddressed": 5,
}  # fmt: skip
SAID = {"backchannel": backchannel, "overheard": overheard, "unaddressed": unaddressed}
WRITABLE = ("backchannel", "unaddressed")  # in words that the world has


@dataclass(frozen=True)
class Utterance:
    """Speech, with its transcript and voice."""

    text: str
    voice: Voice
    audio: np.ndarray  # float32 [samples], 16 kHz


def say(text: str, voice: Voice, rng: random.Random, record: Recording = recorded) -> Utterance:
    """A text in a voice at 16 kHz, with silence around it, as `record` has it: room, noise, loudness. The transcript
    has one spelling of words that are said alike."""
    text = one_spelling(text)
    chance = np.random.default_rng(rng.getrandbits(64))
    return Utterance(text, voice, record(padded(speech.speak(text, voice), chance), chance))


def say_in_turn(said: Sequence[tuple[str, Voice]], rng: random.Random, record: Recording = recorded) -> Utterance:
    """Texts in their voices, one after the other, as one recording at 16 kHz."""
    chance = np.random.default_rng(rng.getrandbits(64))
    audio = speech.speak(*said[0])
    for text, voice in said[1:]:
        audio = np.concatenate([pad(audio, 0, chance.uniform(*BETWEEN)), speech.speak(text, voice)])
    return Utterance(" ".join(text for text, _ in said), said[0][1], record(padded(audio, chance), chance))


def audio_part(utterance: Utterance) -> dict:
    """A message part; its "transcript" is for losses and measures, never part of a prompt."""
    return {"type": "audio", "audio": utterance.audio, "transcript": utterance.text}


def unaddressed_turn(
    split: str, voice: Voice, rng: random.Random, record: Recording = recorded, sort: str = "", text: str = ""
) -> list[dict]:
    """A turn that must not be answered.

    `sort`: one of `NEGATIVES`, "" for any. `text`: what `voice` says, where the sort is one of `SAID`; "" for any.
    """
    sort = sort or rng.choices(list(NEGATIVES), list(NEGATIVES.values()))[0]
    if sort in SAID:
        content = audio_part(say(text or SAID[sort](split, rng), voice, rng, record))
    else:
        audio = sound_clip(sort, split, np.random.default_rng(rng.getrandbits(64)), record)
        content = {"type": "audio", "audio": audio}
    if sort not in WRITABLE:
        content["transcript"] = ""
    return [{"role": "user", "content": [content | {"sort": sort}]}, silent("nothing")]


def silent(state: str) -> dict:
    """An answer of no words."""
    return {"role": "assistant", "content": "", "state": state}


def speak_questions(
    sample: Sample,
    split: str,
    rng: random.Random,
    share: float = 0.5,
    negatives: float = 0.0,
    unseen_voice: bool = False,
    unseen_speed: bool = False,
    voice: Voice | None = None,
    record: Recording = recorded,
) -> Sample:
    """The sample with a share of its written questions spoken, all in one voice: `voice`, or one of espeak-ng's; as
    `record` has it.

    `negatives` is the chance that a turn is preceded by one that must not be answered. Pictures stay with the first
    turn.
    """
    voice = voice or draw_voice(rng, unseen_voice, unseen_speed)
    messages: list[dict] = []
    for message in sample.messages:
        if message["role"] == "user":
            if messages and rng.random() < negatives:
                messages += unaddressed_turn(split, voice, rng, record)
            message = speak(message, voice, rng, record) if rng.random() < share else message
        messages.append(message)
    if rng.random() < negatives:
        messages += unaddressed_turn(split, voice, rng, record)
    about = sample.about | {"voice": voice.name, "wpm": voice.wpm}
    return Sample(messages, sample.task, turn_states(messages)[-1], about)


def speak(message: dict, voice: Voice, rng: random.Random, record: Recording = recorded) -> dict:
    """The message, its text spoken."""
    content = parts(message["content"])
    said = [audio_part(say(part["text"], voice, rng, record)) if part["type"] == "text" else part for part in content]
    return {**message, "content": said}
