"""Small talk: greetings, who are you, arithmetic, opposites, days, spelling, counting; each with several wordings."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from training.data.world.plans import Question
from training.data.world.questions import phrase
from training.data.world.vocabulary import DAYS, NUMBERS, OPPOSITES, SPELLED

GREETINGS = (
    (("hello.", "hello there.", "hello, parley.", "hi.", "hi there.", "hi, parley.", "hey.", "hey, parley."),
     "hello, nice to meet you."),
    (("good morning.", "good morning, parley."), "good morning to you."),
    (("good evening.", "good evening, parley."), "good evening to you."),
    (("good night.", "good night, parley."), "good night, sleep well."),
    (("how are you?", "how are you today?", "tell me, how are you?", "how are you doing?", "hello, how are you?",
      "hi, how are you?"), "i am fine, thank you."),
    (("thank you.", "thank you, parley.", "thank you for that.", "thanks.", "thanks, parley.", "okay, thank you."),
     "you are welcome."),
    (("goodbye.", "goodbye, parley.", "see you soon.", "bye.", "bye, parley.", "goodbye for now."),
     "goodbye, see you soon."),
)  # fmt: skip
WHO = (
    (("who are you?", "what is your name?", "tell me your name.", "tell me who you are.", "do you have a name?"),
     "my name is parley."),
    (("what can you do?", "tell me what you can do.", "what can you do for me?", "what do you know?"),
     "i can see, hear and speak."),
    (("can you hear me?", "do you hear me?", "parley, can you hear me?", "hello, can you hear me?"),
     "yes, i can hear you."),
    (("can you see?", "do you have eyes?", "can you see me?"), "yes, show me a picture."),
)  # fmt: skip
ARITHMETIC = (
    "what is {sum}?", "how much is {sum}?", "tell me {sum}.", "can you tell me {sum}?", "{sum} is what?",
    "what do you get for {sum}?", "do you know what {sum} is?", "can you do {sum}?", "tell me what {sum} is.",
)  # fmt: skip
OPPOSITE = (
    "what is the opposite of {word}?", "tell me the opposite of {word}.", "which word is the opposite of {word}?",
    "the opposite of {word} is what?", "can you tell me the opposite of {word}?",
    "do you know the opposite of {word}?", "what word is the opposite of {word}?",
)  # fmt: skip
DAY = (
    "what day is {side} {day}?", "which day comes {side} {day}?", "what day comes {side} {day}?",
    "tell me the day {side} {day}.", "which day is {side} {day}?", "what is the day {side} {day}?",
    "do you know what day is {side} {day}?", "what comes {side} {day}?",
)  # fmt: skip
SPELL = (
    "how do you spell {word}?", "spell {word}.", "can you spell {word}?", "spell the word {word}.",
    "tell me how to spell {word}.", "please spell {word}.", "how is {word} spelled?",
)  # fmt: skip
COUNT_TO = (
    "count to {last}.", "can you count to {last}?", "count up to {last}.", "can you count up to {last}?",
    "tell me the numbers to {last}.", "please count to {last}.", "tell me the numbers up to {last}.",
)  # fmt: skip
COUNT_FROM = (
    "count from {first} to {last}.", "can you count from {first} to {last}?",
    "tell me the numbers from {first} to {last}.", "please count from {first} to {last}.",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What to ask, before a wording is chosen."""

    answer: str
    wordings: tuple[str, ...]
    gaps: dict[str, str] = field(default_factory=dict)


def greeting(rng: random.Random) -> Plan:
    wordings, answer = rng.choice(GREETINGS)
    return Plan(answer, wordings)


def who(rng: random.Random) -> Plan:
    wordings, answer = rng.choice(WHO)
    return Plan(answer, wordings)


def arithmetic(rng: random.Random) -> Plan:
    """One to ten, plus or minus one to ten, never below zero."""
    a, b = rng.randint(1, 10), rng.randint(1, 10)
    if rng.random() < 0.5:
        text, result = f"{NUMBERS[a]} plus {NUMBERS[b]}", a + b
    else:
        a, b = max(a, b), min(a, b)
        text, result = f"{NUMBERS[a]} minus {NUMBERS[b]}", a - b
    return Plan(f"{text} is {NUMBERS[result]}.", ARITHMETIC, {"sum": text})


def opposite(rng: random.Random) -> Plan:
    word, other = rng.sample(rng.choice(OPPOSITES), 2)
    return Plan(f"the opposite of {word} is {other}.", OPPOSITE, {"word": word})


def day(rng: random.Random) -> Plan:
    index, side = rng.randrange(7), rng.choice(("after", "before"))
    other = DAYS[(index + (1 if side == "after" else -1)) % 7]
    return Plan(f"{other} is {side} {DAYS[index]}.", DAY, {"side": side, "day": DAYS[index]})


def spelling(rng: random.Random) -> Plan:
    word = rng.choice(SPELLED)
    return Plan(", ".join(word) + ".", SPELL, {"word": word})


def counting(rng: random.Random) -> Plan:
    if rng.random() < 0.5:
        first, last = 1, rng.randint(2, 10)
        wordings, gaps = COUNT_TO, {"last": NUMBERS[last]}
    else:
        first = rng.randint(1, 8)
        last = rng.randint(first + 1, min(first + 6, 12))
        wordings, gaps = COUNT_FROM, {"first": NUMBERS[first], "last": NUMBERS[last]}
    return Plan(", ".join(NUMBERS[first : last + 1]) + ".", wordings, gaps)


# Kind → how it is planned, and how often it is asked.
KINDS = {
    "greeting": (greeting, 1), "who": (who, 1), "arithmetic": (arithmetic, 3), "opposite": (opposite, 1),
    "day": (day, 1), "spelling": (spelling, 1), "counting": (counting, 1),
}  # fmt: skip
SMALL_TALK_KINDS = tuple(KINDS)
WEIGHTS = tuple(weight for _, weight in KINDS.values())


def small_talk(split: str, rng: random.Random, kind: str | None = None) -> Question:
    """A question of small talk, of one kind or any, in a sentence of this split."""
    kind = kind or rng.choices(SMALL_TALK_KINDS, WEIGHTS)[0]
    while True:
        plan = KINDS[kind][0](rng)
        if text := phrase(plan.wordings, plan.gaps, split, rng):
            return Question(kind, kind, text, plan.answer)
