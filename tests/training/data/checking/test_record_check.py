"""What is measured of a record, and what makes it bad."""

import json

import numpy as np
import pytest
from PIL import Image

from parley.checkpoints.checkpoint import Checkpoint
from parley.config import preset
from parley.media.audio import write_wav
from training.data.checking.record_check import RecordCheck, content_hash
from training.data.mix import MixSource
from training.data.sample_length import SampleLength
from training.data.sources.dialogues import open_dialogues
from training.data.sources.speech import open_speech


@pytest.fixture
def folder(tmp_path):
    Image.effect_noise((900, 500), 50).convert("RGB").save(tmp_path / "wide.jpg")
    whole = (tmp_path / "wide.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    write_wav(tmp_path / "two.wav", np.sin(np.arange(48_000) / 5), 24_000)
    return tmp_path


def record(question: str, answer: str = "A cat.", **fields) -> dict:
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **fields}


def check_of(folder, *records, **options) -> RecordCheck:
    (folder / "records.json").write_text(json.dumps(records))
    mixed = MixSource("mine", "questions", open_dialogues(folder / "records.json"))
    return RecordCheck(mixed, options.pop("config", preset("vita-7b")), **options)


def test_a_picture_that_is_cut_short_is_bad(folder):
    found = check_of(folder, record("<image>", image="wide.jpg"), record("<image>", image="cut.jpg")).range(0, 2)
    assert found.good == 1 and found.reasons == {"unreadable image": 1}
    assert found.bad[0].where == "records.json[1]" and "cut.jpg: the picture is damaged" in found.bad[0].detail


def test_what_is_measured(folder):
    one = record("<image> <audio> What?", image="wide.jpg", audio="two.wav", set="mine")
    refusal = record("<audio>", "", audio="two.wav", inserted_id=1)
    found = check_of(folder, one, refusal).range(0, 2)
    assert (found.good, found.answers, found.refusals, found.without_text) == (2, 2, 1, 1)
    assert list(found.widths) == [900] and list(found.heights) == [500] and found.tiles == {3: 1}  # 2 × 1, thumbnail
    assert list(found.seconds) == [2.0, 2.0] and found.media == {"image": 1, "audio": 2}
    assert found.sets == {"mine": 1, "records": 1} and list(found.characters) == [len("What?") + len("A cat."), 0]
    assert found.groups[0] > 1 and found.groups[1] == 1 and not found.tokens


def test_tokens_and_records_that_are_too_long(folder):
    nano = Checkpoint.open("checkpoints/nano")
    length = SampleLength(nano.config, nano.tokenizer())
    records = record("what is this?", "a red square."), record("what is this? " * 30)
    found = check_of(folder, *records, config=nano.config, length=length, longest=100).range(0, 2)
    assert found.good == 1 and len(found.tokens) == 2 and found.tokens[0] < 100 < found.tokens[1]
    assert found.bad[0].reason == "too long" and f"{found.tokens[1]} tokens" in found.bad[0].detail


@pytest.mark.parametrize(
    ("kind", "question", "remark"),
    [
        ("captions", "<audio>", "without a picture or video"),
        ("spoken_questions", "What?", "without speech"),
        ("negatives", "What?", "without an answer that is refused (inserted_id)"),
        ("cut_questions", "<audio>", "without an answer that is refused (inserted_id)"),
        ("text", "<audio>", "with media"),
        ("questions", "What?", None),
    ],
)
def test_what_is_not_as_the_kind_says_is_told(folder, kind, question, remark):
    one = record(question, audio="two.wav") if "<audio>" in question else record(question)
    (folder / "records.json").write_text(json.dumps([one]))
    mixed = MixSource("mine", kind, open_dialogues(folder / "records.json"))
    found = RecordCheck(mixed, preset("vita-7b")).range(0, 1)
    assert found.good == 1 and list(found.remarks) == ([remark] if remark else [])


def test_speech_to_speak_like_is_of_the_codecs_rate(folder):
    write_wav(folder / "low.wav", np.sin(np.arange(16_000) / 5), 16_000)
    write_wav(folder / "ljspeech.wav", np.sin(np.arange(22_050) / 5), 22_050)
    lines = [{"audio": f"{name}.wav", "text": "hello you"} for name in ("two", "low", "ljspeech")]
    (folder / "speech.jsonl").write_text("\n".join(map(json.dumps, lines)))
    mixed = MixSource("tts", "speech", open_speech(folder / "speech.jsonl"))
    found = RecordCheck(mixed, preset("vita-7b")).range(0, 3)
    assert list(found.seconds) == [2.0, 1.0] and found.reasons == {"too low a sample rate": 1}


@pytest.mark.parametrize("kind", ["transcriptions", "speech"])
def test_utterances_that_training_leaves_out_for_their_length_are_bad(folder, kind):
    write_wav(folder / "minute.wav", np.sin(np.arange(61 * 24_000) / 5), 24_000)
    lines = [{"audio": "minute.wav", "text": "hello"}, {"audio": "two.wav", "text": "hello", "duration": 0.05}]
    (folder / "speech.jsonl").write_text("\n".join(map(json.dumps, lines)))
    mixed = MixSource("mine", kind, open_speech(folder / "speech.jsonl"))
    assert RecordCheck(mixed, preset("vita-7b")).range(0, 2).reasons == {"too long": 1, "too short": 1}


def test_without_files_only_the_text_is_looked_at(folder):
    found = check_of(folder, record("<image>", image="cut.jpg"), decode=False).range(0, 1)
    assert found.good == 1 and not found.widths


def test_speech(folder):
    lines = [{"audio": "two.wav", "text": "hello you"}, {"audio": "none.wav", "text": "hello"}]
    (folder / "speech.jsonl").write_text("\n".join(map(json.dumps, lines)))
    nano = Checkpoint.open("checkpoints/nano")
    mixed = MixSource("asr", "transcriptions", open_speech(folder / "speech.jsonl"))
    length = SampleLength(nano.config, nano.tokenizer())
    found = RecordCheck(mixed, nano.config, length, longest=500).range(0, 2)
    assert found.good == 1 and list(found.seconds) == [2.0] and found.reasons == {"missing file": 1}
    assert len(found.tokens) == 1 and found.media == {"audio": 1}


def test_a_decoder_that_breaks_ends_no_check(folder, monkeypatch):
    """Decoders raise what they like on damaged files."""

    def broken(*_):
        raise KeyError("codec")

    monkeypatch.setattr("training.data.checking.record_check.open_sample", broken)
    found = check_of(folder, record("What?")).range(0, 1)
    assert found.reasons == {"unreadable": 1} and "KeyError: 'codec'" in found.bad[0].detail


def test_records_are_the_same_if_they_say_the_same(folder):
    records = record("a"), record("a"), record("b"), record("a", id="1"), record("a", set="x"), record("", "aA cat.")
    source = check_of(folder, *records).mixed.source
    hashes = [content_hash(source[index]) for index in range(5)]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 4
