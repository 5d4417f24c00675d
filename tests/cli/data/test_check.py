"""`parley data check`: what is in a user's data, and what is wrong with bad records."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.data import app
from parley.media.audio import write_wav


def run(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def turns(number: int) -> list[dict]:
    return [{"from": "human", "value": f"<image> What is {number}?"}, {"from": "gpt", "value": "A number."}]


@pytest.fixture
def mix(tmp_path):
    """Dialogues with pictures, of which one is damaged and one is there twice, and speech."""
    for number in range(3):
        Image.effect_noise((64, 48), 50).convert("RGB").save(tmp_path / f"{number}.jpg")
    damaged = (tmp_path / "2.jpg").read_bytes()
    (tmp_path / "2.jpg").write_bytes(damaged[: len(damaged) // 2])
    lines = [{"id": str(n), "image": f"{n % 3}.jpg", "conversations": turns(n)} for n in range(70)]
    lines[40] = lines[4]
    (tmp_path / "dialogues.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_wav(tmp_path / "a.wav", np.sin(np.arange(16_000) / 5), 16_000)
    (tmp_path / "speech.jsonl").write_text(json.dumps({"audio": "a.wav", "text": "hello", "speaker": "s"}))
    sources = "- {kind: questions, path: dialogues.jsonl}\n- {kind: transcriptions, path: speech.jsonl}"
    (tmp_path / "mix.yaml").write_text(f"sources:\n{sources}\n")
    return tmp_path / "mix.yaml"


def test_bad_records_are_shown_and_fail(tmp_path):
    file = tmp_path / "records.json"
    file.write_text(json.dumps([{"id": str(index), "conversations": []} for index in range(5)]))
    found = run(file, "--show", "2")
    assert found.exit_code == 1
    assert "5 records, 0 good, 5 bad" in found.output and "5 × no conversations" in found.output
    assert "… and 3 more" in found.output and "records.json[1]" in found.output
    assert "records.json[2]" not in found.output


def test_a_whole_mix_by_one_process_or_two(mix, tmp_path):
    reports, file = [], tmp_path / "report.json"
    for jobs in (1, 2):
        found = run(mix, "--jobs", jobs, "--tokenizer", "checkpoints/nano", "--json", file, "--show", 30)
        assert found.exit_code == 1, found.output
        assert "70 records, 46 good, 24 bad" in found.output and "23 × unreadable image" in found.output
        assert "1 × record seen before" in found.output and "already at dialogues.jsonl:5 (id 4)" in found.output
        assert "speech (transcriptions): 1 records, 1 good, 0 bad; 1 audio" in found.output
        reports.append(json.loads(file.read_text()))
    assert reports[0] == reports[1]
    dialogues, speech = reports[0]["sources"]
    assert reports[0]["bad"] == 24 and len(dialogues["bad_records"]) == 24 and dialogues["width"]["p50"] == 64
    assert dialogues["tokens"]["count"] == 47 and dialogues["longer"] == 0 and speech["seconds"]["max"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--media", "x"], "names media, kinds and formats itself"),
        (["--tokenizer", "docs"], "docs has no tokenizer"),
        (["--model", "gpt"], "no preset 'gpt'"),
        (["--json", "nowhere/report.json"], "there is no folder nowhere"),
    ],
)
def test_options_that_cannot_be(mix, options, message):
    assert message in str(run(mix, *options).exception)


def test_a_file_that_is_not_there(tmp_path):
    assert "nothing.json" in str(run(tmp_path / "nothing.json").exception)
    assert "no kind 'talk'" in str(run(tmp_path / "nothing.json", "--kind", "talk").exception)
