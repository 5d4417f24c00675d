"""The words of nano's world: few enough that every one is a single token and is in the recogniser's dictionary."""

from __future__ import annotations

COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "cross", "star")
PLURALS = {"circle": "circles", "square": "squares", "triangle": "triangles", "cross": "crosses", "star": "stars"}
SIZES = ("small", "big")
# The cells of the 3×3 grid in reading order. All begin with the same words: the first word of an answer then does not
# depend on the place.
PLACES = (
    "at the top left", "at the top", "at the top right",
    "at the left", "at the centre", "at the right",
    "at the bottom left", "at the bottom", "at the bottom right",
)  # fmt: skip
# The same, row by row and column by column: the centre is one of each.
ROWS = ("at the top", "at the centre", "at the bottom")
COLUMNS = ("at the left", "at the centre", "at the right")
# Words that may be written in a picture: short, so that each fits one cell.
WRITTEN = (
    "stop", "go", "cat", "dog", "sun", "moon", "milk", "tea", "open", "fish",
    "bird", "tree", "book", "bus", "car", "map", "key", "yes", "no", "hot",
)  # fmt: skip
DIRECTIONS = ("left", "right", "up", "down")
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("left", "right"), ("top", "bottom"), ("day", "night"),
    ("open", "closed"), ("old", "new"), ("fast", "slow"), ("good", "bad"), ("black", "white"), ("yes", "no"),
)  # fmt: skip
SPELLED = (
    "cat",
    "dog",
    "sun",
    "moon",
    "milk",
    "fish",
    "bird",
    "tree",
    "book",
    "bus",
    "car",
    "map",
    "key",
    "star",
    "red",
    "blue",
)
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
# Things that no picture of the world shows.
ANIMALS = ("horse", "cow", "lion", "monkey", "mouse", "snake", "chicken", "cat", "dog", "bird")
DEVICES = ("phone", "computer", "radio", "airplane", "camera", "train")
OTHER_SPELLINGS = {"color": "colour"}  # said alike
# What people say while they listen: no question.
BACKCHANNELS = (
    "okay", "yeah", "mhm", "uh huh", "right", "sure", "hmm", "oh", "wow", "all right", "of course", "i see",
    "yes", "no",
)  # fmt: skip


def with_article(name: str) -> str:
    """For example "a star", "an object"."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def one_spelling(text: str) -> str:
    """The text as speech is transcribed: of words that are said alike, one."""
    for word, written in OTHER_SPELLINGS.items():
        text = text.replace(word, written)
    return text
