"""Dialogues in natural voices: every question is a clip of the pools.

Notable points:
- A question of a clip is spoken many times. Each time another picture is drawn that it fits, so its answer is another.
- All clips of a dialogue are in one voice, but for what somebody else says in between.
"""

from __future__ import annotations

from itertools import islice
from random import Random

from training.data.sample import Sample, turn_states
from training.data.world.absent import NO_PICTURE
from training.data.world.asked_again import asked_again, moved_again
from training.data.world.pictures import draw
from training.data.world.pools import DROPPED, SENTENCES, Clip, Pools
from training.data.world.questions import moves
from training.data.world.spoken import NEGATIVES, SAID, speak, unaddressed_turn
from training.data.world.videos import draw_frames
from training.data.world.world import World, draw_kind, to_messages

WRITTEN = 0.2  # of the questions in a dialogue of several
DISTURBED = 0.6  # how often something is heard before a question, or at the end, that must not be answered
MOST = 4  # turns of small talk
SHUFFLED = 0.4  # of the transcribed texts


def natural(world: World, pools: Pools, source: str, index: int) -> Sample | None:
    """A sample of one of `DIALOGUES` in a natural voice; None where the sample is espeak-ng's, or no picture was found
    that fits."""
    rng = world.rng("natural", source, index)
    if not pools.natural(rng):
        return None
    make, sorts = DIALOGUES[source]
    clips = list(pools[draw_kind(sorts, rng)].draw(rng))
    messages = make(world, pools, clips, rng)
    about = {"kind": source, "voice": clips[0].voice.name, "wpm": clips[0].voice.wpm}
    return Sample(messages, source, turn_states(messages)[-1], about) if messages else None


def transcribed_clips(pools: Pools, rng: Random) -> Sample:
    """Two spoken texts in one voice, and their transcripts."""
    clips = pools["shuffled_words" if rng.random() < SHUFFLED else draw_kind(SENTENCES, rng)].draw(rng)
    messages = [message for clip in islice(clips, 2) for message in turn(clip, clip.text, rng)]
    return Sample(messages, "transcription", "speech")


def turn(clip: Clip, answer: str, rng: Random, written: float = 0.0, **media) -> list[dict]:
    """A question that is spoken, or in a share of the cases written, and its answer."""
    asked, answered = to_messages([(clip.text, answer)], **media)
    return [asked if rng.random() < written else speak(asked, clip.voice, rng), answered]


def picture_question(world: World, pools: Pools, clips: list[Clip], rng: Random) -> list[dict]:
    return about_new_picture(world, clips[0], rng)


def about_new_picture(world: World, clip: Clip, rng: Random, written: float = 0.0) -> list[dict]:
    """A turn about a picture that the question fits; nothing if none was found."""
    style = world.style("clip", rng.getrandbits(64))
    found = asked_again(clip.question, world.split, rng, style.counts)
    return turn(clip, found[1], rng, written, image=draw(found[0], rng, style)) if found else []


def two_pictures(world: World, pools: Pools, clips: list[Clip], rng: Random) -> list[dict]:
    """A question about a picture, then one about another."""
    first, second = (about_new_picture(world, clip, rng, WRITTEN) for clip in clips[:2])
    return first + second if first and second else []


def video_question(world: World, pools: Pools, clips: list[Clip], rng: Random) -> list[dict]:
    style = world.style("clip", rng.getrandbits(64))
    motion = moved_again(clips[0].question, world.split, rng, style)
    if not motion:
        return []
    return turn(clips[0], moves(motion.asked.direction), rng, video=draw_frames(motion, rng, style))


def talk(world: World, pools: Pools, clips: list[Clip], rng: Random) -> list[dict]:
    """Different questions that need no picture."""
    asked = {clip.text: clip for clip in clips[: rng.randint(1, MOST)]}.values()
    return [message for clip in asked for message in turn(clip, clip.question.answer, rng, WRITTEN)]


def outside_talk(world: World, pools: Pools, clips: list[Clip], rng: Random) -> list[dict]:
    """A question outside the world, in every other sample with a picture."""
    image = {"image": world.picture(rng.getrandbits(32))[1]} if rng.random() < 0.5 else {}
    return turn(clips[0], clips[0].question.answer, rng, **image)


def no_picture(world: World, pools: Pools, clips: list[Clip], rng: Random) -> list[dict]:
    return turn(clips[0], NO_PICTURE, rng)


def disturbed_talk(world: World, pools: Pools, clips: list[Clip], rng: Random) -> list[dict]:
    """Small talk, and what must not be answered: sounds, or what is said to nobody or somebody else."""
    messages = []
    for clip in clips[: rng.randint(0, 2)]:
        if rng.random() < DISTURBED:
            messages += unaddressed(world, pools, clip, rng)
        messages += turn(clip, clip.question.answer, rng, WRITTEN)
    return messages + unaddressed(world, pools, clips[0], rng)


def negative(world: World, pools: Pools, index: int) -> Sample:
    """A turn that must not be answered, alone, with a picture or after a question (`World.negative`), said by a natural
    voice or by one of espeak-ng's."""
    rng = world.rng("natural negative", index)
    sort = draw_kind(NEGATIVES, rng)
    if sort not in SAID or not pools.natural(rng):
        return world.negative(index, sort=sort)
    clip = next(pools[sort].draw(rng))
    return world.negative(index, clip.voice, sort=sort, text=clip.text)


def unaddressed(world: World, pools: Pools, clip: Clip, rng: Random) -> list[dict]:
    """A turn that must not be answered, in any natural voice where it is said."""
    sort = draw_kind(NEGATIVES, rng)
    said = next(pools[sort].draw(rng)) if sort in SAID else clip
    return unaddressed_turn(world.split, said.voice, rng, sort=sort, text=said.text if sort in SAID else "")


# Source of the recipe → its dialogues, and the sorts of clips that they are made of, with how often.
DIALOGUES = {
    "spoken_single_questions": (picture_question, {"picture_questions": 9, "absent": 1}),
    "spoken_word_dropout_questions": (picture_question, {DROPPED: 1}),
    "spoken_two_pictures": (two_pictures, {"picture_questions": 1}),
    "spoken_videos": (video_question, {"video_questions": 1}),
    "spoken_small_talk": (talk, {"small_talk": 1}),
    "spoken_outside": (outside_talk, {"outside": 1}),
    "spoken_no_picture": (no_picture, {"picture_questions": 1}),
    "negatives": (disturbed_talk, {"small_talk": 1}),
}
