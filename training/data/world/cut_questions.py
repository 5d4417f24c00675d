"""Spoken questions that are cut short, and whole ones: what the end-of-turn head learns from; and what must not be
answered either way: sentences to somebody else, cut short too, and backchannels, as soon as they begin."""

from __future__ import annotations

import random

import numpy as np

from training.data.sample import Sample, parts, text_of
from training.data.world.cut_speech import begun, cut_short, drawn, whole
from training.data.world.recording import Recording, recorded
from training.data.world.refusals import outside_talk
from training.data.world.sounds import sound_clip
from training.data.world.spoken import SAID, WRITABLE, audio_part, silent, speak
from training.data.world.voices import Voice, draw_voice
from training.data.world.whole_questions import cut_places
from training.data.world.world import World

SORTS = {"cut": 11, "whole": 6, "unaddressed": 4}  # how often
TALKS = {"one question": 7, "dialogue": 6, "small talk": 6, "outside": 2}  # about a picture, but for the last two
# What must not be answered, and how each is said.
NEGATIVES = {"backchannel": 5, "overheard": 2, "unaddressed": 3, "hum": 2}
ENDS = {"backchannel": (whole, begun), "overheard": (cut_short,), "unaddressed": (cut_short,)}


def cut_question(
    world: World, index: int, sort: str = "", unseen_voice: bool = False, voice: Voice | None = None,
    record: Recording = recorded,
) -> Sample:  # fmt: skip
    """A dialogue whose last question is cut short, or whole; or what must not be answered, mostly cut short.

    `sort`: one of `SORTS`, "" for any. All is said by `voice`, or by one of espeak-ng's, as `record` has it.
    """
    rng = world.rng("cut question", index)
    voice, sort = voice or draw_voice(rng, unseen_voice), sort or drawn(SORTS, rng)
    if sort == "unaddressed":
        return negative(world.split, voice, rng, record)
    *before, asked, answer = question(world, index, rng).messages
    if voice.engine == "espeak":  # natural voices are slow: earlier questions are written
        before = [speak(message, voice, rng, record) if message["role"] == "user" else message for message in before]
    return last_said([*before, asked, answer], text_of(asked), voice, sort, rng, record)


def last_said(
    messages: list[dict], text: str, voice: Voice, sort: str, rng: random.Random, record: Recording = recorded
) -> Sample:
    """A dialogue with the `text` of its last question said by `voice`: whole, or ("cut") cut short and not answered."""
    *before, asked, answer = messages
    said = (whole if sort == "whole" else cut_short)(text, voice, rng, record)
    media = [part for part in parts(asked["content"]) if part["type"] not in ("text", "audio")]
    last = {**asked, "content": [*media, audio_part(said)]}
    answer = (answer if sort == "whole" else silent("speech")) | {"complete": sort == "whole"}
    return Sample([*before, last, answer], "cut_question", "speech", about(sort, voice))


def negative(
    split: str, voice: Voice, rng: random.Random, record: Recording = recorded, sort: str = "", text: str = ""
) -> Sample:
    """What must not be answered, with little silence behind. `sort`: one of `NEGATIVES`, "" for any; `text`: what
    `voice` says, where it is one of `SAID`, "" for any."""
    sort = sort or drawn(NEGATIVES, rng)
    if sort in SAID:
        heard = audio_part(rng.choice(ENDS[sort])(text or SAID[sort](split, rng), voice, rng, record))
    else:
        heard = {"type": "audio", "audio": sound_clip(sort, split, np.random.default_rng(rng.getrandbits(64)), record)}
    if sort not in WRITABLE:
        heard["transcript"] = ""
    messages = [{"role": "user", "content": [heard]}, silent("nothing")]
    return Sample(messages, "cut_question", "nothing", about("unaddressed", voice))


def about(sort: str, voice: Voice) -> dict:
    return {"kind": sort, "voice": voice.name, "wpm": voice.wpm}


def question(world: World, index: int, rng: random.Random) -> Sample:
    """A written dialogue whose last question can be cut short."""
    match drawn(TALKS, rng):
        case "one question":
            sample = world.single(index)
        case "dialogue":
            sample = world.dialog(index, turns=rng.choice((2, 3)), small_talk_share=0.1, captioned=0.0)
        case "small talk":
            sample = world.small_talk(index, turns=rng.choice((1, 2, 3)))
        case _:
            sample = outside_talk(world, index)
    while not (sample.messages and cut_places(text_of(sample.messages[-2]))):
        sample = world.small_talk(rng.getrandbits(32))
    return sample
