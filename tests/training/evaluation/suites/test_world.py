"""The measures of nano's world: every one with its bar, its count and what guessing gives."""

from __future__ import annotations

from unittest.mock import create_autospec

import pytest
import torch

from parley.checkpoints import load_model
from training.data.world import heldout
from training.data.world.heldout import SEEDS
from training.data.world.questions import PICTURE_KINDS
from training.data.world.voices import ENGINES, Voice
from training.evaluation.suites.world import ROWS, judges, natural


@pytest.fixture(scope="module")
def records(tiny_checkpoint):
    """Of one seed. Natural voices speak with espeak-ng here and Whisper hears nothing: in no time, installed or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heldout, "draw_natural_voice", lambda rng, unseen: Voice("en-us+f4", wpm=160))
        patch.setattr(natural, "missing", lambda engine: "")
        deaf = create_autospec(judges.Whisper)
        deaf.return_value.transcribe.return_value = ""
        patch.setattr(judges, "Whisper", deaf)
        judges.whisper_base.cache_clear()
        yield measured(load_model(tiny_checkpoint))
    judges.whisper_base.cache_clear()


@torch.no_grad()
def measured(model) -> list[dict]:
    parts = {name for name, module in model.named_children() if module is not None}
    assert all(row.needs <= parts for row in ROWS)
    return [measure.record() for row in ROWS for measure in row.finish(row.measure(model, SEEDS[0], 2))]


def test_every_measure_is_there_with_its_bar(records):
    bars = {record["name"].split("(")[0].strip(): record["bar"] for record in records if record["bar"] is not None}
    assert bars == {
        "picture questions, text in: mean over kinds": 95,
        "picture questions, text in: worst kind": 85,
        "picture questions, spoken: seen voices": 90,
        "picture questions, spoken: unseen voices": 80,
        "small talk, spoken": 95,
        "video: which way it moves": 90,
        "transcription WER, unseen sentences: seen voices": 3,
        "transcription WER, unseen sentences: unseen voices": 8,
        "transcription WER, unseen sentences: unseen speeds": 12,
        "state: speech / text / nothing to answer": 98,
        "end of turn: questions known as complete or cut short, unseen voices": 95,
        "codec: WER of decoded speech above the original's": 3,
        "spoken answers: WER": 6,
        "transcription WER: natural voices, unseen": 12,
        "picture questions, spoken: natural voices, unseen": 80,
        "picture questions, spoken: natural voices, unseen, through a telephone": 70,
        "picture questions, spoken: natural voices, unseen, at 10 dB noise": 70,
        "state: not to be answered, natural voices, unseen": 95,
        "end of turn: natural voices, unseen": 95,
        "spoken answers, judged by Whisper base: WER": 8,
        "another picture later in the conversation": 90,
        "pictures on light, mid-grey or any ground": 85,
        "shapes off the grid by up to 0.4 of a cell": 80,
        "shapes turned by up to 30°": 80,
        "five or six shapes": 80,
        "pictures of 640×360 and 1024×768": 90,
        "words in capitals, other fonts and colours": 85,
        "plain wordings of a newcomer": 85,
        "says that it cannot see or does not know": 90,
        "video with a second thing that moves otherwise": 80,
    }


def test_a_model_of_random_weights_fails(records):
    judged = [record for record in records if record["bar"] is not None]
    assert sum(record["ok"] for record in judged) <= 2
    assert all(record["n"] > 0 for record in records)


def test_chance_is_given_where_guessing_is_possible(records):
    chances = {record["name"]: record["chance"] for record in records}
    assert chances["video: which way it moves"] == 25
    assert 10 < chances["picture questions, text in: mean over kinds"] < 60


def test_both_ends_of_turns_count_the_same(records):
    place = next(i for i, record in enumerate(records) if record["name"].startswith("end of turn"))
    both, complete, cut = records[place : place + 3]
    assert (complete["name"], cut["name"]) == ("· complete", "· cut short")
    assert (both["n"], complete["n"], cut["n"], both["chance"]) == (4, 2, 2, 50)
    assert both["value"] == pytest.approx((complete["value"] + cut["value"]) / 2, abs=0.01)


def test_the_forms_of_a_kind_add_up_to_it(records):
    written = next(i for i, record in enumerate(records) if record["name"].startswith("picture questions, spoken"))
    kind, forms = None, {}
    for record in records[:written]:
        if record["name"].startswith("·· "):
            forms[kind["name"]].append(record)
        elif record["name"].startswith("· "):
            kind = record
            forms[kind["name"]] = []
    assert set(forms) == {f"· {kind}" for kind in PICTURE_KINDS}
    for kind in (record for record in records if forms.get(record["name"])):
        parts = forms[kind["name"]]
        assert len(parts) > 1
        assert sum(record["n"] for record in parts) == kind["n"]
        assert sum(record["n"] * record["value"] for record in parts) == pytest.approx(kind["n"] * kind["value"])
    assert any(forms.values())


def test_a_row_of_several_conditions_has_each_below_it(records):
    place = next(i for i, record in enumerate(records) if record["name"].startswith("says that"))
    row, *conditions = records[place : place + 4]
    assert [record["name"] for record in conditions] == [
        "· what is not there", "· without a picture", "· outside its world",
    ]  # fmt: skip
    assert row["n"] == sum(record["n"] for record in conditions) == 3


def test_rows_are_left_out_whose_voices_are_not_installed(monkeypatch):
    monkeypatch.setattr(natural, "missing", lambda engine: "install it" if engine == "piper" else "")
    assert natural.lacks() == "natural voices are not there (piper: install it)"
    assert {row.name for row in natural.ROWS} <= {row.name for row in ROWS if row.lacks()}
    monkeypatch.setenv(ENGINES, "piper")
    assert "kokoro: PARLEY_SPEECH_ENGINES does not name it" in natural.lacks()
