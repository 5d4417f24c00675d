"""Spoken questions that are cut short, and whole ones: what the end-of-turn head learns from; and sentences to somebody
else, cut short too, which must not be answered either way."""

from __future__ import annotations

import random

from training.data.sample import Sample, parts, text_of
from training.data.world.cut_speech import cut_short, drawn, whole
from training.data.world.spoken import Utterance, audio_part, silent, speak
from training.data.world.unaddressed import unaddressed
from training.data.world.voices import draw_voice
from training.data.world.whole_questions import cut_places
from training.data.world.world import World

SORTS = {"cut": 11, "whole": 6, "unaddressed": 3}  # how often
TALKS = {"one question": 7, "dialogue": 6, "small talk": 7}  # about a picture, but for small talk


def cut_question(world: World, index: int, sort: str = "", unseen_voice: bool = False) -> Sample:
    """A dialogue whose last question is cut short, or whole; or a sentence to somebody else.

    `sort`: one of `SORTS`, "" for any.
    """
    rng = world.rng("cut question", index)
    voice, sort = draw_voice(rng, unseen_voice), sort or drawn(SORTS, rng)
    about = {"kind": sort, "voice": voice.name, "wpm": voice.wpm}
    if sort == "unaddressed":
        heard = {"role": "user", "content": [audio_part(cut_short(unaddressed(world.split, rng), voice, rng))]}
        return Sample([heard, silent("nothing")], "cut_question", "nothing", about)
    *before, asked, answer = question(world, index, rng).messages
    earlier = [speak(message, voice, rng) if message["role"] == "user" else message for message in before]
    said, answer = (whole, answer) if sort == "whole" else (cut_short, silent("speech"))
    last = last_said(asked, said(text_of(asked), voice, rng))
    return Sample([*earlier, last, answer | {"complete": sort == "whole"}], "cut_question", "speech", about)


def question(world: World, index: int, rng: random.Random) -> Sample:
    """A written dialogue whose last question can be cut short."""
    match drawn(TALKS, rng):
        case "one question":
            sample = world.single(index)
        case "dialogue":
            sample = world.dialog(index, turns=rng.choice((2, 3)), small_talk_share=0.1, captioned=0.0)
        case _:
            sample = world.small_talk(index, turns=rng.choice((1, 2, 3)))
    while not (sample.messages and cut_places(text_of(sample.messages[-2]))):
        sample = world.small_talk(rng.getrandbits(32))
    return sample


def last_said(message: dict, utterance: Utterance) -> dict:
    """The message with its text spoken so."""
    media = [part for part in parts(message["content"]) if part["type"] != "text"]
    return {**message, "content": [*media, audio_part(utterance)]}
