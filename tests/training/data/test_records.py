"""LLaVA/VITA records: what lines up becomes a sample; what does not is counted and shown, never used."""

import json

import pytest

from training.data.records import RecordError, read_records, to_sample
from training.data.sample import Sample, text_of, turn_states


def record(**changes) -> dict:
    turns = [{"from": "human", "value": "<image>\nwhat is this?"}, {"from": "gpt", "value": "a cat."}]
    return {"set": "coco", "id": "1", "conversations": turns, "image": "a.jpg"} | changes


def turns(*values: str) -> list[dict]:
    return [{"from": ("human", "gpt")[index % 2], "value": value} for index, value in enumerate(values)]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.jpg", "q.wav", "r.wav", "v.mp4"):
        (tmp_path / name).write_bytes(b"media")
    return tmp_path


def reason(value, folder) -> str:
    with pytest.raises(RecordError) as caught:
        to_sample(value, folder)
    return caught.value.reason


def test_a_picture_stands_where_its_marker_is(folder):
    sample = to_sample(record(), folder)
    assert sample.messages[0]["content"] == [
        {"type": "image", "image": str(folder / "a.jpg")},
        {"type": "text", "text": "what is this?"},
    ]
    assert sample.messages[1] == {"role": "assistant", "content": "a cat."}
    assert (sample.task, sample.state, sample.about) == ("coco", "text", {"id": "1"})


def test_markers_take_files_in_order_over_all_turns(folder):
    value = record(
        conversations=turns("<image>\n<image>\n<audio>\n", "they differ.", "and now? <audio>", "they do not."),
        image=["b.jpg", "a.jpg"],
        audio=["r.wav", "q.wav"],
    )
    first, _, third, _ = to_sample(value, folder).messages
    assert [part[part["type"]][-5:] for part in first["content"]] == ["b.jpg", "a.jpg", "r.wav"]
    assert [part["type"] for part in third["content"]] == ["text", "audio"]
    assert third["content"][1]["audio"].endswith("q.wav")


def test_one_picture_without_a_marker_belongs_to_the_first_question(folder):
    sample = to_sample(record(conversations=turns("what is this?", "a cat.")), folder)
    assert [part["type"] for part in sample.messages[0]["content"]] == ["image", "text"]


def test_a_video_and_a_system_message(folder):
    said = [{"from": "system", "value": "be brief."}, *turns("<video>\nwhich way?", "left.")]
    sample = to_sample({"conversations": said, "video": "v.mp4"}, folder)
    assert [message["role"] for message in sample.messages] == ["system", "user", "assistant"]
    assert sample.messages[1]["content"][0] == {"type": "video", "video": str(folder / "v.mp4")}


def test_inserted_id_marks_the_answer_that_is_a_refusal(folder):
    said = turns("<audio>", "yes.", "<audio>", "")
    sample = to_sample({"conversations": said, "audio": ["q.wav", "r.wav"], "inserted_id": 3}, folder)
    assert turn_states(sample.messages) == ["speech", "nothing"]
    assert sample.state == "nothing"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "not a record"),
        ({"id": "1"}, "no conversations"),
        (record(conversations=[]), "no conversations"),
        (record(conversations=[{"from": "human"}]), "bad turn"),
        (record(conversations=[{"from": "robot", "value": "x"}]), "bad turn"),
        (record(conversations=turns("one", "two", "three")), "turns do not alternate"),
        (record(conversations=list(reversed(turns("one", "two")))), "turns do not alternate"),
        (record(conversations=turns("<image><image> what?", "a cat.")), "markers and files differ"),
        (record(conversations=turns("<audio>", "a cat.")), "markers and files differ"),
        (record(image=["a.jpg", "b.jpg"]), "markers and files differ"),
        (record(audio=["q.wav"]), "markers and files differ"),
        (record(image="missing.jpg"), "missing file"),
        (record(image=3), "bad media field"),
        (record(image=[""]), "bad media field"),
        (record(conversations=turns("<image> what?", "see <image>")), "marker in an answer"),
        (record(conversations=turns("<image> what?", " ")), "empty answer"),
        ({"conversations": turns(" ", "yes.")}, "empty question"),
        (record(inserted_id=2), "bad inserted_id"),
        (record(inserted_id=0), "bad inserted_id"),
        (record(inserted_id="1"), "bad inserted_id"),
        (record(inserted_id=True), "bad inserted_id"),
    ],
)
def test_what_does_not_line_up_is_named(value, expected, folder):
    assert reason(value, folder) == expected


@pytest.mark.parametrize("as_lines", [True, False])
def test_every_bad_record_of_a_file_is_counted_and_shown(folder, as_lines):
    records = [record(id=name) for name in "abc"] + [record(id="b"), record(id="x", image="gone.jpg"), 7]
    text = "\n\n".join(map(json.dumps, records)) if as_lines else "\ufeff \n" + json.dumps(records, indent=1)
    file = folder / "records.json"
    file.write_text(text, encoding="utf-8")
    samples, report = read_records(file)
    assert [sample.about["id"] for sample in samples] == ["a", "b", "c"]
    assert report.reasons == {"record seen before": 1, "missing file": 1, "not a record": 1}
    assert report.media == {"image": 3}
    shown = str(report)
    assert "6 records, 3 good, 3 bad" in shown
    assert "gone.jpg" in shown and ("records.json:9" if as_lines else "records.json[4]") in shown


def test_records_of_one_picture_may_share_its_id(folder):
    file = folder / "records.json"
    file.write_text(json.dumps([record(), record(conversations=turns("<image> what is it doing?", "it sleeps."))]))
    assert len(read_records(file)[0]) == 2


def test_a_broken_line_is_a_bad_record_and_the_rest_is_read(folder):
    file = folder / "records.jsonl"
    file.write_text(json.dumps(record()) + '\n{"id": \n' + json.dumps(record(id="2")) + "\n")
    samples, report = read_records(file)
    assert len(samples) == 2
    assert [bad.where for bad in report.bad] == ["records.jsonl:2"]


def test_files_that_cannot_be_read_at_all(folder):
    with pytest.raises(ValueError, match="no such records file"):
        read_records(folder / "nowhere.json")
    (folder / "cut.json").write_text("[" + json.dumps(record()) + ", {")
    with pytest.raises(ValueError, match="not a JSON list"):
        read_records(folder / "cut.json")


def test_media_may_lie_elsewhere_or_be_left_unchecked(folder, tmp_path_factory):
    file = tmp_path_factory.mktemp("records") / "records.jsonl"
    file.write_text(json.dumps(record()))
    assert read_records(file)[1].reasons == {"missing file": 1}
    assert read_records(file, folder)[1].good == 1
    assert read_records(file, need_files=False)[1].good == 1


def test_what_is_said_in_audio_goes_with_it(folder):
    """`parley data speak` writes it; the CTC loss of stage 2.2 needs it."""
    turns = [("human", "<audio> and <audio>"), ("gpt", "yes")]
    spoken = {
        "conversations": [{"from": who, "value": text} for who, text in turns], "audio": ["a.wav", "b.wav"],
    }  # fmt: skip
    sample = to_sample(spoken | {"transcripts": ["Is it?", None]}, folder, need_files=False)
    audio = [part for part in sample.messages[0]["content"] if part["type"] == "audio"]
    assert [part.get("transcript") for part in audio] == ["Is it?", None]
    for wrong in (["Is it?"], "Is it?", ["Is it?", 2]):
        with pytest.raises(RecordError, match="a list of 2 texts or nulls"):
            to_sample(spoken | {"transcripts": wrong}, folder, need_files=False)


def test_states_follow_from_how_a_turn_was_asked():
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "image", "image": 0}, {"type": "audio", "audio": 0}]},
        {"role": "assistant", "content": "three"},
    ]
    assert turn_states(messages) == ["text", "speech"]
    assert text_of(messages[2]) == "" and text_of(Sample(messages, "x").messages[0]) == "one"
