"""OpenAI's records and captions become the same samples as LLaVA's records that say the same."""

import base64

import pytest

from training.data.record_error import RecordError
from training.data.record_forms import CAPTION_PROMPT
from training.data.records import to_sample

PICTURE = b"\x89PNG picture"


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.jpg", "q.wav", "v.mp4"):
        (tmp_path / name).write_bytes(b"media")
    return tmp_path


def chat(*contents, **fields) -> dict:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)], **fields}


def llava(*values: str, **fields) -> dict:
    turns = [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]
    return {"conversations": turns, **fields}


def text(value: str) -> dict:
    return {"type": "text", "text": value}


def reason(record, folder) -> str:
    with pytest.raises(RecordError) as caught:
        to_sample(record, folder)
    return caught.value.reason


@pytest.mark.parametrize(
    ("record", "same"),
    [
        (chat("hello", "hi."), llava("hello", "hi.")),
        (
            chat([{"type": "image_url", "image_url": {"url": "a.jpg"}}, text("what?")], [text("a cat.")], id="3"),
            llava("<image>what?", "a cat.", image="a.jpg", id="3"),
        ),
        (
            chat(
                [text("is"), {"type": "image", "image": "a.jpg"}, text("like"), {"type": "image", "path": "b.jpg"}],
                "no.",
            ),
            llava("is<image>like<image>", "no.", image=["a.jpg", "b.jpg"]),
        ),
        (
            chat([{"type": "video_url", "video_url": "v.mp4"}, {"type": "audio", "audio": "q.wav"}], "left."),
            llava("<video><audio>", "left.", video="v.mp4", audio="q.wav"),
        ),
        (  # as `datasets` and transformers write it: the files are in a field of the record
            chat(
                [{"type": "image", "text": None}, text("and")], "x", [text("<image>?")], "y", images=["a.jpg", "b.jpg"]
            ),
            llava("<image>and", "x", "<image>?", "y", image=["a.jpg", "b.jpg"]),
        ),
        (
            chat([text("<image> or")], "x", [{"type": "image", "image": "b.jpg"}], "y", images=["a.jpg"]),
            llava("<image>or", "x", "<image>", "y", image=["a.jpg", "b.jpg"]),
        ),
        (chat("what?", "a cat.", image="a.jpg"), llava("what?", "a cat.", image="a.jpg")),
        (chat("ok", "", inserted_id=1), llava("ok", "", inserted_id=1)),
        ({"conversations": chat("hello", "hi.")["messages"]}, llava("hello", "hi.")),
        ({"messages": llava("hello", "hi.")["conversations"]}, llava("hello", "hi.")),
        ({"image": "a.jpg", "caption": "a cat."}, llava(CAPTION_PROMPT, "a cat.", image="a.jpg", set="caption")),
        ({"file_name": "a.jpg", "text": "a cat."}, llava(CAPTION_PROMPT, "a cat.", image="a.jpg", set="caption")),
    ],
)
def test_a_record_of_another_form_says_the_same(folder, record, same):
    assert to_sample(record, folder) == to_sample(same, folder)


def test_a_system_message_stays_one(folder):
    record = {"messages": [{"role": "developer", "content": "be brief."}, *chat("hello", "hi.")["messages"]]}
    assert to_sample(record, folder).messages[0] == {"role": "system", "content": "be brief."}


def test_urls_of_this_machine_and_embedded_files_are_read(folder):
    url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    sound = {"data": base64.b64encode(b"RIFF").decode(), "format": "wav"}
    (folder / "a b.jpg").write_bytes(b"media")
    record = chat(
        [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "image_url", "image_url": {"url": (folder / "a b.jpg").as_uri()}},
            {"type": "input_audio", "input_audio": sound},
            {"type": "image", "image": {"bytes": PICTURE, "path": "c.png"}},
        ],
        "yes.",
    )
    parts = to_sample(record, folder).messages[0]["content"]
    assert [part[part["type"]] for part in parts] == [PICTURE, str(folder / "a b.jpg"), b"RIFF", PICTURE]
    assert parts[3]["name"] == "c.png" and "inside the record" in parts[0]["name"]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (chat([{"type": "image_url", "image_url": {"url": "https://x.org/a.jpg"}}], "a cat."), "remote file"),
        (llava("<image>", "a cat.", image="s3://x/a.jpg"), "remote file"),
        (chat([{"type": "image_url", "image_url": {"url": "data:image/png,xyz"}}], "a cat."), "bad data URL"),
        (chat([{"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}], "a cat."), "bad data URL"),
        (chat([{"type": "image_url", "image_url": {"url": "c.jpg"}}], "a cat."), "missing file"),
        (chat([{"type": "image", "image": "A" * 5000}], "a cat."), "missing file"),
        (chat([{"type": "image", "image": 5}], "a cat."), "bad media field"),
        (chat([{"type": "image"}], "a cat."), "markers and files differ"),
        (chat("what?", "a cat.", images=["a.jpg", "b.jpg"]), "markers and files differ"),
        (chat([text("<image>"), {"type": "image", "image": "a.jpg"}], "a cat."), "markers and files differ"),
        (chat("draw", [{"type": "image", "image": "a.jpg"}]), "marker in an answer"),
        (chat("what?", None), "empty answer"),
        (chat("what?"), "turns do not alternate"),
        (chat([{"type": "table"}], "yes."), "bad turn"),
        (chat([{"type": "text", "text": None}], "yes."), "bad turn"),
        (chat(5, "yes."), "bad turn"),
        ({"messages": [{"role": "user", "content": "x"}, "y"]}, "bad turn"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "bad turn"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "bad turn"),
        ({"conversations": [{"from": {}, "value": "x"}]}, "bad turn"),
        (chat([{"type": {"image": 1}}], "yes."), "bad turn"),
        ({"messages": []}, "no conversations"),
        ({"file_name": "a.doc", "text": "x"}, "bad media field"),
        ({"text": "words without a picture"}, "no conversations"),
    ],
)
def test_what_does_not_line_up_is_refused(folder, record, expected):
    assert reason(record, folder) == expected
