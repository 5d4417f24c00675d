"""`nano`'s world: pictures, videos, talk and speech, made faster than they are learned.

    world = World(seed=0, split="train")      # or "heldout"
    world.dialog(index)                       # Sample: a picture and several questions about it
    world.question(index, kind)               # one question; kind of questions.PICTURE_KINDS
    world.caption(index)  world.video(index)  world.small_talk(index)
    world.cells(index)                        # (picture, labels of its nine cells)

Everything is a pure function of (seed, split, index). A scene, a sentence, a voice or a speed that is held out is held
out by what it is, under every seed. One idea a file: vocabulary, splits, scenes, pictures, captions, questions,
smalltalk, videos, unaddressed, sentences, voices, speech, noise, heldout.
"""

from training.data.world.world import World

__all__ = ["World"]
