"""All eight stages on a user's data, from an initialised checkpoint: each alone, and as one run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from parley.checkpoints import Checkpoint, load_model, save_stage
from parley.media.audio import write_wav
from training.launch.in_order import OrderedRun
from training.launch.local import train_stage
from training.launch.stage_job import StageJob
from training.options import Options
from training.recipe import STAGES

RECORDS = 60
EIGHT = [stage.name for stage in STAGES if stage.full is not None]
OPTIONS = Options(steps=1, batch=2)
KINDS = {
    "captions": "captions.json", "questions": "questions.json", "text": "text.json", "spoken_questions": "spoken.json",
    "negatives": "negatives.json", "cut_questions": "cut.json", "transcriptions": "speech.jsonl",
    "speech": "speech.jsonl",
}  # fmt: skip


def say(random: np.random.Generator, words: int) -> str:
    return " ".join(random.choice(["a", "red", "square", "blue", "circle", "what", "is", "it", "left", "top"], words))


def dialogues(random: np.random.Generator, asked: str, answer: bool = True, **media: str) -> list[dict]:
    """Records with a question of media markers, or of words; `media`: name of a field → pattern of its files."""
    return [
        {"id": str(i)}
        | {kind: pattern.format(i // 2 if kind == "image" else i) for kind, pattern in media.items()}
        | {
            "conversations": [
                {"from": "human", "value": asked or say(random, 3)},
                {"from": "gpt", "value": say(random, 3) if answer else ""},
            ]
        }
        | ({} if answer else {"inserted_id": 1})
        for i in range(RECORDS)
    ]


def write_data(folder: Path) -> Path:
    """60 records of each kind; two show the same picture. Returns mix.yaml."""
    random = np.random.default_rng(0)
    for i in range(RECORDS):
        pixels = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        write_wav(folder / f"{i}.wav", 0.1 * random.standard_normal(24_000 + 600 * (i % 5)), 24_000)
    contents = {
        "captions": dialogues(random, "<image>\nwhat is it?", image="{}.png"),
        "questions": dialogues(random, "<image>\nwhich?", image="{}.png"),
        "text": dialogues(random, ""),
        "spoken": dialogues(random, "<image>\n<audio>", image="{}.png", audio="{}.wav"),
        "negatives": dialogues(random, "<audio>", answer=False, audio="{}.wav"),
        "cut": dialogues(random, "<image>\n<audio>", answer=False, image="{}.png", audio="{}.wav"),
    }
    for name, records in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(records))
    lines = [{"audio": f"{i}.wav", "text": say(random, 3), "speaker": f"s{i % 30}"} for i in range(RECORDS)]
    (folder / "speech.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    entries = [f"- {{kind: {kind}, path: {path}, name: {kind}}}\n" for kind, path in KINDS.items()]
    (folder / "mix.yaml").write_text("sources:\n" + "".join(entries))
    return folder / "mix.yaml"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def start(tiny_checkpoint: Path, tmp_path_factory) -> Path:
    """As `parley init` leaves it."""
    model, folder = load_model(tiny_checkpoint), tmp_path_factory.mktemp("start") / "base"
    parts = {name: part.state_dict() for name, part in model.named_children() if name != "end_of_turn_head"}
    save_stage(folder, stage="initialised", config=model.config, parts=parts, tokenizer=model.tokenizer)
    return folder


@pytest.fixture(scope="module")
def run(start: Path, data: Path, tmp_path_factory) -> Path:
    """All stages but the last, each trained by itself."""
    run, before = tmp_path_factory.mktemp("run"), start
    for name in EIGHT[:-1]:
        train_stage(StageJob(stage=name, run=run, start=before, records=data, options=OPTIONS), resume=False)
        before = run / name
    return run


def test_every_stage_learns_from_the_kinds_of_the_recipe(run: Path, capsys) -> None:
    learned = {name: Checkpoint.open(run / name).manifest.data for name in EIGHT[:-1]}
    assert {name: set(one["mixture"]) for name, one in learned.items()} == {
        "1.1": {"captions"},
        "1.2": {"captions"},
        "1.3": {"captions", "questions", "text"},
        "2.1a": {"transcriptions"},
        "2.1b": {"transcriptions"},
        "2.2": {"captions", "questions", "text", "spoken_questions", "negatives", "cut_questions"},
        "3.1": {"speech"},
    }
    assert all(sum(one["samples"].values()) == 2 and one["skipped"] == 0 for one in learned.values())
    assert len({one["fingerprint"].split("/")[0] for one in learned.values()}) == 1


def test_the_ctc_head_is_made_for_the_transcripts_and_kept(run: Path) -> None:
    made = Checkpoint.open(run / "2.1a").config.speech
    assert set(made.ctc_alphabet) == set(" redsquabluecilwhatiftopr") and made.ctc_words == ()
    last = Checkpoint.open(run / "3.1")
    assert last.config.speech == made and last.manifest.parts["ctc_head"].stage == "2.1a"
    assert last.manifest.lineage == ["initialised", *EIGHT[:-1]]


def test_a_run_goes_on_with_the_first_stage_that_is_not_done(run: Path, start: Path, data: Path) -> None:
    whole = OrderedRun(start, data, run, 0, OPTIONS, jobs=1)
    with pytest.raises(ValueError, match=r"holds a run already; --resume continues it"):
        whole.train_all(resume=False)
    whole.train_all(resume=True)
    last = Checkpoint.open(run / EIGHT[-1]).manifest
    assert last.lineage == ["initialised", *EIGHT] and last.parts["speech_decoder"].stage == "3.2"
    reply = load_model(run / EIGHT[-1]).reply([{"role": "user", "content": "what is it?"}], max_tokens=3, always=True)
    assert reply.token_ids and last.parts["end_of_turn_head"].stage == "2.2"
    with torch.no_grad():
        assert load_model(run / EIGHT[-1]).ctc_head is not None


def test_a_run_does_not_go_on_from_another_start_or_with_other_data(run: Path, start: Path, data: Path) -> None:
    whole = OrderedRun(start, data, run, 0, OPTIONS, jobs=1)
    with pytest.raises(ValueError, match=r"1.1 was not trained from .*1.2: its vision_encoder is another; give the "):
        replace(whole, start=run / "1.2").train_all(resume=True)
    other = data.with_name("other.yaml")
    other.write_text(data.read_text().replace("captions.json,", "captions.json, weight: 2,"))
    with pytest.raises(ValueError, match=r"1.1 was trained on other data than .*other.yaml has; give the same --from "):
        replace(whole, data=other).train_all(resume=True)


def test_a_mix_without_a_kind_is_refused_before_anything_is_trained(start: Path, data: Path, tmp_path: Path) -> None:
    mix = data.with_name("dialogues.yaml")
    mix.write_text("sources:\n- {kind: captions, path: captions.json}\n- {kind: questions, path: questions.json}\n")
    with pytest.raises(ValueError, match=r"stage 2.1a learns from transcriptions; .* stage 3.1 learns from speech; "):
        OrderedRun(start, mix, tmp_path / "run", 0, OPTIONS, jobs=1).train_all(resume=False)
    assert not (tmp_path / "run").exists()


def test_a_bad_record_is_left_out_and_counted(start: Path, data: Path, tmp_path: Path, capsys) -> None:
    records = json.loads(data.with_name("captions.json").read_text())
    records[3]["conversations"][1]["value"] = " "
    file = data.with_name("damaged.json")
    file.write_text(json.dumps(records))
    job = StageJob(stage="1.2", run=tmp_path / "run", start=start, records=file, options=OPTIONS)
    with pytest.raises(ValueError, match=r"damaged.json\[3\] \(id .*\): empty answer: .* --skip-bad leaves them out"):
        train_stage(job, resume=False)
    options = Options(steps=1, batch=2, skip_bad=True)
    train_stage(job.model_copy(update={"options": options}), resume=False)
    assert Checkpoint.open(tmp_path / "run" / "1.2").manifest.data["skipped"] == 1
    said = capsys.readouterr().out
    assert "skipped damaged.json[3]" in said and "damaged  records       60    1" in said
