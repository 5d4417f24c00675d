"""The world of `nano`: generated pictures, videos, dialogues and speech.

    world = World(seed=0, split="train")      # or "heldout"
    world.dialog(index)                       # Sample: a picture and several questions about it
    world.question(index, kind)               # one question; kind of questions.PICTURE_KINDS
    world.caption(index)  world.video(index)  world.small_talk(index)
    world.cells(index)                        # (picture, labels of its nine cells)

Everything is a pure function of (seed, split, index). Scenes, sentences, voices and speeds are held out by their
content, so they are held out under every seed.
"""

from training.data.world.world import World

__all__ = ["World"]
