"""Natural voices: which are trained, which are held out, and what is drawn where some or all are missing."""

import pytest

from training.data.world import voices
from training.data.world.speech.engines import NATURAL
from training.data.world.speech.styles import STYLES
from training.data.world.splits import generator
from training.data.world.voices import NATURAL_SEEN, NATURAL_SPEEDS, NATURAL_UNSEEN, Voice, draw_natural_voice


def drawn(unseen: bool = False, count: int = 600) -> list[Voice]:
    return [draw_natural_voice(generator(index), unseen) for index in range(count)]


def only(monkeypatch, *installed: str) -> None:
    monkeypatch.setattr(voices, "missing", lambda name: "" if name in installed else f"install {name}")


def test_voices_are_apart_and_an_engine_is_held_out_whole():
    seen, unseen = {*NATURAL_SEEN["kokoro"]}, {*NATURAL_UNSEEN["kokoro"]}
    assert not seen & unseen and seen | unseen == {*STYLES} and len(unseen) == 6
    assert sorted(name[:2] for name in unseen) == ["af", "af", "am", "am", "bf", "bm"]
    assert {*NATURAL_UNSEEN} - {*NATURAL_SEEN} == {"piper"} and {*NATURAL_SEEN, *NATURAL_UNSEEN} == {*NATURAL}


def test_training_hears_its_own_voices_and_blends_of_them(monkeypatch):
    only(monkeypatch, *NATURAL)
    said = drawn()
    assert {voice.engine for voice in said} == {*NATURAL_SEEN} and {voice.wpm for voice in said} == {*NATURAL_SPEEDS}
    blends = [voice.name.split("+") for voice in said if "+" in voice.name]
    assert all(len({*pair}) == 2 and pair[0][0] == pair[1][0] for pair in blends) and len(blends) > 150
    names = {(voice.engine, name) for voice in said for name in voice.name.split("+")}
    assert names == {(engine, name) for engine, every in NATURAL_SEEN.items() for name in every}
    held = {(voice.engine, voice.name) for voice in drawn(unseen=True)}
    assert held == {(engine, name) for engine, every in NATURAL_UNSEEN.items() for name in every}
    assert drawn(count=20) == drawn(count=20)


def test_engines_that_are_not_installed_are_not_drawn(monkeypatch):
    only(monkeypatch, "flite", "piper")
    assert {voice.engine for voice in drawn()} == {"flite"} and {voice.name for voice in drawn(True)} == {"joe"}
    assert voices.answer_voice() == Voice("en-us+edward", 150)
    only(monkeypatch, "hibari")
    assert voices.answer_voice().engine == "hibari" and voices.natural_voices_installed()
    assert not voices.natural_voices_installed(unseen=True)
    with pytest.raises(ValueError, match="no natural voice is installed; piper: install piper; kokoro: install kokoro"):
        draw_natural_voice(generator(0), unseen=True)
