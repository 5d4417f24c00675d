"""Clips of the pools that are cut short, and whole ones: `cut_questions` in natural voices."""

from __future__ import annotations

from training.data.sample import Sample, parts
from training.data.world.cut_questions import NEGATIVES, SORTS, last_said, negative
from training.data.world.cut_speech import drawn
from training.data.world.natural import DIALOGUES
from training.data.world.pools import Pools
from training.data.world.spoken import SAID
from training.data.world.whole_questions import cut_places
from training.data.world.world import World, draw_kind

# Dialogues whose last question is cut short, or whole, and how often.
TALKS = {
    "spoken_single_questions": 9, "spoken_two_pictures": 2, "spoken_videos": 1, "spoken_small_talk": 6,
    "spoken_outside": 2, "spoken_no_picture": 1,
}  # fmt: skip


def natural_cut(world: World, pools: Pools, index: int) -> Sample | None:
    """As `cut_question`, in a natural voice; None where the sample is espeak-ng's, no picture was found that fits, or
    the question has no place to cut it."""
    rng = world.rng("natural cut", index)
    if not pools.natural(rng):
        return None
    if (sort := drawn(SORTS, rng)) == "unaddressed":
        said = drawn(NEGATIVES, rng)
        clip = next(pools[said if said in SAID else "unaddressed"].draw(rng))
        return negative(world.split, clip.voice, rng, sort=said, text=clip.text)
    make, sorts = DIALOGUES[drawn(TALKS, rng)]
    clips = list(pools[draw_kind(sorts, rng)].draw(rng))
    messages = make(world, pools, clips, rng)
    text = _last_text(messages) if messages else ""
    return last_said(messages, text, clips[0].voice, sort, rng) if cut_places(text) else None


def _last_text(messages: list[dict]) -> str:
    """The last question, written or spoken."""
    last = parts(messages[-2]["content"])[-1]
    return last.get("text") or last["transcript"]
