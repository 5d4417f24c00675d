"""The user's data of a stage: kinds, shares, steps, bad records, long samples, transcriptions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from parley.models.parley import Parley
from training.data.mix import MixSource
from training.data.record_error import RecordError
from training.data.sample import Sample
from training.only import only
from training.recipe import find_stage
from training.stages.data_table import data_table
from training.stages.finetune import fitted
from training.stages.user_data import UserData, check_kinds, teachable

MILLION = 1_000_000


@pytest.fixture
def data_of(mix_of, tiny_config, tiny_tokenizer, tmp_path):
    """data_of(stage, *sources, …): what a stage of the tiny model learns from."""

    def make(
        name: str,
        *sources,
        seed: int = 0,
        config=tiny_config,
        steps: int = 0,
        skip_bad: bool = False,
        batch: int = 8,
        sequence_length: int = 512,
    ) -> UserData:
        stage = fitted(find_stage(name), config)
        schedule = replace(stage.full, steps=steps, batch=batch, sequence_length=sequence_length)
        folder = tmp_path / "work" / name
        return UserData(stage, schedule, mix_of(*sources), config, tiny_tokenizer, seed, folder, skip_bad=skip_bad)

    return make


def test_steps_follow_from_epochs_and_samples_unless_they_are_asked_for(made, data_of):
    data = data_of("1.1", made("captions", 20, name="a"))
    assert (len(data.epochs), data.schedule.batch, data.schedule.steps) == (4, 4, 1)
    data = data_of("1.3", made("questions", 20), steps=3)
    assert (data.schedule.batch, data.schedule.steps) == (8, 3)
    assert sum(data.mixture.counts(24).values()) == 24
    assert "3 steps of 8 samples, as asked: 1.2 epochs" in data_table(data)


def test_the_recipes_shares_are_applied_and_shown(made, data_of, capsys):
    data = data_of(
        "2.2", made("captions", 1000), made("questions", 1000), made("spoken_questions", 500), made("speech", 10)
    )
    counts = {one.mixed.name: one.samples for one in data.learned}
    learned = {one.mixed.name: len(one.split.learned) for one in data.learned}
    assert counts == {
        "captions": round(0.04 * learned["captions"]),
        "questions": round(0.1 * learned["questions"]),
        "spoken_questions": round(0.1 * learned["questions"]),
    }
    assert data.mixture.counts(len(data.epochs)) == counts and sum(data.schedule.mixture.values()) == pytest.approx(100)
    shown = data_table(data)
    row = next(line.split() for line in shown.splitlines() if line.split()[0] == "captions")
    held_out, taken = 1000 - learned["captions"], counts["captions"]
    share = f"{100 * taken / learned['captions']:.3g}"
    assert row == ["captions"] * 2 + ["1,000", "0", str(held_out), str(learned["captions"]), str(taken), share, "%"]
    assert "no negatives: the stage learns from them too, and mix.yaml has none" in shown
    assert "no cut_questions: the stage learns from them too, and mix.yaml has none; so the model gets no end-" in shown
    assert "no text: " in shown and "this stage does not learn from speech" in shown


def test_without_questions_that_are_cut_short_there_is_no_end_of_turn_head(made, mix_of, tiny_config):
    """It would learn that every question is complete."""
    stage = fitted(find_stage("2.2"), tiny_config)
    spoken, cut = made("spoken_questions", 60), made("cut_questions", 60)
    assert teachable(stage, mix_of(spoken, cut)) is stage
    assert set(stage.trains) - set(teachable(stage, mix_of(spoken)).trains) == {"end_of_turn_head"}
    alone = only(stage, ["end_of_turn_head"])
    assert teachable(alone, mix_of(spoken, cut)) is alone
    with pytest.raises(ValueError, match=r"the end-of-turn head learns from cut_questions, and .*mix.yaml has none"):
        teachable(alone, mix_of(spoken))


def test_what_is_missing_or_few_is_said(made, data_of):
    noise = made("negatives", 10, group=lambda i: f"noise {i}")
    data = data_of("2.2", made("questions", 1000), made("spoken_questions", 40), noise)
    shown = data_table(data)
    spoken, written = data.learned[1].samples, data.learned[0].samples
    assert spoken < 41 < written
    assert f"{spoken} spoken_questions for {written} questions and text; `parley data speak` makes more" in shown
    assert "negatives: nothing is held out (under 50 records)" in shown


def test_a_codec_that_will_have_no_codes_is_remarked_on(made, data_of):
    few, enough = (data_table(data_of("3.1", made("speech", 60), steps=steps)) for steps in (3, 128))
    remark = "the codec's codes are made from its first 1,024 samples; 24 make none"
    assert remark in few and "make none" not in enough


def test_held_out_samples_are_of_every_kind_and_never_learned_from(made, data_of):
    data = data_of("1.3", made("questions", 400), made("text", 400, group=lambda i: ""), made("captions", 400), steps=9)
    kinds = Counter(sample.about["kind"] for sample in data.probe)
    assert kinds == {one.mixed.kind: min(9, len(one.split.held_out)) for one in data.learned}
    assert min(kinds.values()) > 2
    held_out = {sample.about["id"] for sample in data.probe}
    learned = {data.mixture[number].about["id"] for number in range(6 * len(data.epochs))}
    assert not held_out & learned and len(learned) == sum(len(one.split.learned) for one in data.learned)
    assert data.mixture[0].about["kind"] in ("questions", "text", "captions")


def test_the_same_samples_for_any_number_of_ranks_and_other_seeds(made, data_of):
    def step(ranks: int, seed: int = 0) -> list[str]:
        found = []
        for rank in range(ranks):  # each builds its own
            data = data_of("1.2", made("captions", 5000, group=lambda i: ""), seed=seed)
            share = range(64 * rank // ranks, 64 * (rank + 1) // ranks)
            found += [data.mixture[number].about["id"] for number in share]
        return found

    assert step(1) == step(2) and step(1) != step(1, seed=1)


def test_transcriptions_become_dialogues(made, data_of):
    data = data_of("2.1b", made("transcriptions", 60))
    sample = data.mixture[0]
    (audio,) = sample.messages[0]["content"]
    assert audio["audio"].dtype == np.float32 and len(audio["audio"]) == 16_000
    assert audio["transcript"] == sample.messages[1]["content"] and sample.state == "speech"
    assert sample.about["kind"] == "transcriptions"
    assert data.mixture.where(0).startswith("transcriptions.json:")


def test_bad_records_end_the_run_or_are_left_out(made, data_of, tmp_path):
    with pytest.raises(ValueError, match=r"captions.json:6: empty answer: .*`parley data check`.*--skip-bad"):
        data_of("1.2", made("captions", 60, bad={5, 8}))
    data = data_of("1.2", made("captions", 60, bad={5, 8}), skip_bad=True)
    learned = {data.mixture[number].about["id"] for number in range(len(data.epochs))}
    assert not {"captions-5", "captions-8"} & learned
    assert len(learned) == len(data.epochs) == 58 - len(data.learned[0].split.held_out)
    assert data.skipped.count() == 2 and (tmp_path / "work" / "1.2" / "skipped.jsonl").exists()
    # Bad records of a source that the stage does not learn from are no reason to stop.
    data_of("1.1", made("captions", 60), made("questions", 60, bad={1}))


def test_a_mix_of_which_nothing_is_left_is_refused(made, data_of):
    with pytest.raises(ValueError, match=r"mix.yaml: all records of captions are bad or held out; nothing is left"):
        data_of("1.2", made("captions", 3, bad={0, 1, 2}), skip_bad=True)


def test_a_sample_that_is_too_long_is_named_with_its_length(made, data_of):
    data = data_of("1.2", made("captions", 60), sequence_length=8)
    with pytest.raises(ValueError, match=r"captions.json:\d+: too long: \d+ tokens; the stage reads up to 8 \(--seq"):
        data.mixture[0]


def test_kinds_that_the_stage_cannot_learn_from_are_refused(made, data_of, tiny_config):
    with pytest.raises(ValueError, match=r"stage 1.1 learns from captions; .*mix.yaml has only questions, text"):
        data_of("1.1", made("questions", 60), made("text", 60))
    deaf = replace(find_stage("2.2"), trains=("language",), reads=())
    with pytest.raises(ValueError, match=r"negatives in .* need the speech_encoder; stage 2.2 of this model has none"):
        check_kinds(deaf, deaf.full, data_of("2.2", made("negatives", 60)).mix)


def test_a_medium_without_its_encoder_is_a_bad_record(made, data_of):
    data = data_of("1.1", made("captions", 60))
    spoken = [{"type": "audio", "audio": "a.wav"}]
    source = [Sample([{"role": "user", "content": spoken}, {"role": "assistant", "content": "hello"}], "test")]
    with pytest.raises(RecordError, match=r"audio, which stage 1.1 does not take in"):
        data.read(MixSource("loud", "captions", source), 0)


def test_a_million_records_are_ready_with_exact_counts(made, data_of):
    captions = made("captions", MILLION, bad={17}, group=lambda i: f"{i >> 2}")
    data = data_of("1.1", captions, batch=512)
    (one,) = data.learned
    assert len(one.split.learned) + len(one.split.held_out) == MILLION
    assert one.samples == round(0.2 * len(one.split.learned))
    assert data.schedule.steps == -(-one.samples // 512)
    assert "bad ones are found as they are read" in data_table(data) and " ? " in data_table(data)


def test_stages_of_speech_alone_read_waveforms(made, data_of, tmp_path):
    data = data_of("2.1a", made("transcriptions", 60), made("captions", 60))
    speech = data.speech(Parley(data.config, ("ctc_head",)))
    waveform, text = speech.utterance(7)
    assert speech.measures == ("transcriptions",) and speech.seconds(7) == 1.0
    assert len(waveform) == 16_000 and text
    assert speech.where(7) == data.mixture.where(7)
    pieces = data.ctc_pieces()
    assert pieces.transcripts == len(data.learned[0].split.learned) and set(text.lower()) <= set(pieces.alphabet)
    assert data.ctc_pieces() == pieces and len(list((tmp_path / "work" / "2.1a").glob("ctc-*.json"))) == 1
