"""Dialogues in which something cannot be answered: it is outside the world, or no picture or no such thing was shown.

What a picture does not have is also among the questions of the world's other dialogues (`absent.py`).
"""

from __future__ import annotations

import random

from training.data.sample import Sample
from training.data.world import outside
from training.data.world.absent import NO_PICTURE, said_of, unseen_name
from training.data.world.captions import REQUESTS
from training.data.world.plans import Question
from training.data.world.questions import ask, phrase
from training.data.world.scenes import Scene, scene_of
from training.data.world.smalltalk import small_talk
from training.data.world.videos import draw_frames, draw_motion
from training.data.world.wordings import WORDINGS
from training.data.world.world import KIND_WEIGHTS, World, draw_kind, to_messages

TALK_SHARE = 0.4  # of the turns before the last that are small talk
CAPTION_SHARE, MOVES_SHARE = 0.2, 0.1  # of the questions without a picture


def outside_talk(world: World, index: int, turns: int = 1) -> Sample:
    """Up to `turns` questions, the last one outside the world: in every other sample after a picture, among questions
    about it; in the others among small talk."""
    rng = world.rng("outside", index)
    scene, image = world.picture(index) if index % 2 else (None, None)
    asked = [_within(world, scene, rng) for _ in range(turns - 1)]
    pairs = dict.fromkeys(question.pair for question in (*asked, outside.ask(world.split, rng)))
    media = {"image": image} if image else {}
    return Sample(to_messages(list(pairs), **media), "outside", "text", {"kind": "outside", "form": "outside"})


def _within(world: World, scene: Scene | None, rng: random.Random) -> Question:
    """A question outside the world, or one that has an answer."""
    if rng.random() >= TALK_SHARE:
        return outside.ask(world.split, rng)
    return about_picture(world, scene, rng) if scene else small_talk(world.split, rng)


def about_picture(world: World, scene: Scene, rng: random.Random, kind: str = "") -> Question:
    """A question about the scene, of that kind where the scene allows it."""
    while not (asked := ask(scene, kind or draw_kind(KIND_WEIGHTS, rng), world.split, rng)):
        kind = ""
    return asked


def no_picture(world: World, index: int, turns: int = 1) -> Sample:
    """Up to `turns` questions, the last one about a picture, where none was given; others may be small talk."""
    rng = world.rng("no picture", index)
    asked = [
        small_talk(world.split, rng).pair if rng.random() < TALK_SHARE else (_of_a_picture(world, rng), NO_PICTURE)
        for _ in range(turns - 1)
    ]
    pairs = dict.fromkeys((*asked, (_of_a_picture(world, rng), NO_PICTURE)))
    about = {"kind": "no picture", "form": "no picture"}
    return Sample(to_messages(list(pairs)), "no_picture", "text", about)


def _of_a_picture(world: World, rng: random.Random) -> str:
    """Any question about a picture or a video."""
    sort = rng.random()
    if sort < CAPTION_SHARE:
        return rng.choice(REQUESTS)
    if sort < CAPTION_SHARE + MOVES_SHARE:
        return _moves_asked(unseen_name((), rng), world.split, rng) or _of_a_picture(world, rng)
    return about_picture(world, scene_of(rng, world.split), rng).text


def absent_question(world: World, index: int) -> Sample:
    """A question about something that the picture, or the video, does not have."""
    if index % 6 == 5:
        return absent_video(world, index)
    return world.question(index, "absent")


def absent_video(world: World, index: int) -> Sample:
    """A video and which way something moves that is not in it."""
    rng = world.rng("absent video", index)
    style = world.style("absent video", index)
    motion = draw_motion(rng, world.split, style)
    frames = draw_frames(motion, rng, style)
    text = None
    while not text:
        name = unseen_name([way.thing for way in motion.ways], rng)
        text = name and _moves_asked(name, world.split, rng)
    question = Question("absent", "absent moves", text, said_of(name))
    return world.asked(question, "absent", video=frames, scene=str(motion))


def _moves_asked(name: str, split: str, rng: random.Random) -> str | None:
    return phrase(WORDINGS["moves"], {"thing": f"the {name}"}, split, rng)
