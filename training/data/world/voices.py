"""Voices, speeds and pitches of speech: those of the training split, and held-out ones."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

from training.data.world.speech.engines import missing

# Variants of American English, and four other accents. Whispers, sound effects and unintelligible voices are left out.
SEEN = (
    "en-us", "en-us-nyc", "en-gb-x-rp", "en-gb-scotland",
    *(f"en-us+{name}" for name in (
        "Alex", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Mike", "Reed", "Storm", "anika", "antonio",
        "aunty", "belinda", "benjamin", "caleb", "david", "ed", "edward", "f1", "f2", "f3", "f5", "grandpa", "iven",
        "john", "klatt", "klatt2", "klatt3", "klatt5", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "max", "miguel",
        "pablo", "robosoft", "robosoft4", "robosoft6", "sandro", "steph", "steph3",
    )),
)  # fmt: skip
UNSEEN = tuple(f"en-us+{name}" for name in ("adam", "announcer", "f4", "linda", "m5", "michel", "paul", "victor"))
SEEN_SPEEDS = ((120, 210),)  # words a minute, both ends included
UNSEEN_SPEEDS = ((95, 115), (215, 240))
PITCHES = (30, 70)

# Of natural engines. One of them (Piper) is never trained on, nor are six of Kokoro's 28 styles, two Americans and one
# Briton of each sex.
NATURAL_SEEN = {
    "hibari": ("heart",),
    "flite": ("slt", "rms", "awb"),
    "kokoro": (
        "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_river", "af_sky",
        "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_onyx", "am_santa",
        "bf_alice", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_lewis",
    ),
}  # fmt: skip
NATURAL_UNSEEN = {
    "piper": ("joe",),
    "kokoro": ("af_nova", "af_sarah", "am_michael", "am_puck", "bf_emma", "bm_george"),
}
NATURAL_SHARES = {"kokoro": 6, "hibari": 2, "flite": 2}  # how often an engine is drawn
NATURAL_UNSEEN_SHARES = {"kokoro": 2, "piper": 1}
ENGINES = "PARLEY_SPEECH_ENGINES"
NATURAL_SPEEDS = (136, 160, 192)  # words a minute: few, so that speech made once is found again
BLENDED = 0.6  # of Kokoro's trained voices: the mean of two styles of one accent


@dataclass(frozen=True)
class Voice:
    """A voice, its speed and its pitch."""

    name: str
    wpm: int  # words a minute
    pitch: int = 50  # 0..100; a natural engine has one, its speech is resampled for others
    engine: str = "espeak"  # of `speech`


def draw_voice(rng: random.Random, unseen_voice: bool = False, unseen_speed: bool = False) -> Voice:
    """A voice of the training split, or a held-out one."""
    low, high = rng.choice(UNSEEN_SPEEDS if unseen_speed else SEEN_SPEEDS)
    return Voice(rng.choice(UNSEEN if unseen_voice else SEEN), rng.randint(low, high), rng.randint(*PITCHES))


def natural_engines(unseen: bool = False) -> tuple[str, ...]:
    """The natural engines that are installed and may speak, of those that training hears or of those with held-out
    voices."""
    return tuple(name for name in (NATURAL_UNSEEN if unseen else NATURAL_SEEN) if may_speak(name) and not missing(name))


def may_speak(engine: str) -> bool:
    """Whether `PARLEY_SPEECH_ENGINES` names this natural engine; all may where it is not set."""
    named = os.environ.get(ENGINES)
    return named is None or engine in named.split(",")


def natural_voices_installed(unseen: bool = False) -> bool:
    """Whether `draw_natural_voice` has a voice to draw."""
    return bool(natural_engines(unseen))


def draw_natural_voice(rng: random.Random, unseen: bool = False) -> Voice:
    """A natural voice of the training split, or a held-out one, of the engines that are installed.

    Raises `ValueError` if none is.
    """
    engines = natural_engines(unseen)
    if not engines:
        lacks = (f"{name}: {missing(name)}" for name in (NATURAL_UNSEEN if unseen else NATURAL_SEEN))
        raise ValueError(f"no natural voice is installed; {'; '.join(lacks)}")
    shares = NATURAL_UNSEEN_SHARES if unseen else NATURAL_SHARES
    return draw_voice_of(rng.choices(engines, [shares[name] for name in engines])[0], rng, unseen)


def draw_voice_of(engine: str, rng: random.Random, unseen: bool = False) -> Voice:
    """A natural voice of one engine."""
    name = rng.choice((NATURAL_UNSEEN if unseen else NATURAL_SEEN)[engine])
    if engine == "kokoro" and not unseen and rng.random() < BLENDED:
        name = blended(name, rng)
    return Voice(name, rng.choice(NATURAL_SPEEDS), engine=engine)


def blended(style: str, rng: random.Random) -> str:
    """The style with another trained one of its accent."""
    others = [other for other in NATURAL_SEEN["kokoro"] if other[0] == style[0] and other != style]
    return "+".join(sorted((style, rng.choice(others))))


def answer_voice() -> Voice:
    """The model's own: natural if it can be made, else the voice of espeak-ng that the recogniser understands best."""
    if missing("hibari"):
        return Voice("en-us+edward", wpm=150)
    return Voice("heart", wpm=160, engine="hibari")


ANSWER = answer_voice()
