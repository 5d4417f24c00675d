"""Finetuning: any stage from any checkpoint, over records or over nano's world."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from cli.main import main
from parley.checkpoints import Checkpoint, load_model, save_stage
from parley.checkpoints.importers.vita15 import LICENCE, import_published
from parley.media.audio import write_wav
from training.launch.local import train_stage
from training.launch.stage_job import StageJob
from training.options import Options
from training.recipe import STAGES, find_stage

FIXTURE = Path(__file__).parents[2] / "fixtures" / "vita15-tiny"


@pytest.fixture(scope="module")
def imported(tmp_path_factory, chatml_tokenizer: Tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    shutil.copytree(FIXTURE, folder / "release", copy_function=os.symlink)
    chatml_tokenizer.save(str(folder / "release" / "tokenizer.json"))
    import_published(folder / "release", folder / "out")
    return folder / "out"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A file of LLaVA/VITA records: a picture asked about in writing, another aloud, and speech that asks nothing."""
    rng = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        write_wav(tmp_path / f"{i}.wav", 0.1 * rng.standard_normal(8000), 16_000)
    conversations = [
        ("0.png", None, "<image>\nwhat is it?", "a red square.", None),
        ("1.png", "0.wav", "<image>\n<audio>", "a blue triangle.", None),
        (None, "1.wav", "<audio>", "", 1),
    ]
    content = []
    for i, (image, audio, asked, answer, refused) in enumerate(conversations):
        record = {"id": str(i), "set": "test"} | ({"image": image} if image else {})
        record |= ({"audio": [audio]} if audio else {}) | ({} if refused is None else {"inserted_id": refused})
        turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
        content.append(record | {"conversations": turns})
    (tmp_path / "pictures.json").write_text(json.dumps(content[:1]))
    file = tmp_path / "records.json"
    file.write_text(json.dumps(content))
    return file


def finetune(name: str, start: Path, run: Path, *, records: Path | None = None, steps: int | None = None) -> None:
    job = StageJob(stage=name, run=run, start=start, records=records, options=Options(steps=steps))
    train_stage(job, resume=False)


def changed(before: Path, after: Path, part: str) -> bool:
    old, new = (Checkpoint.open(path).state_dict(part, dtype=torch.float32) for path in (before, after))
    return any(not torch.equal(old[name], new[name]) for name in old)


def test_an_imported_model_is_finetuned_over_records(imported: Path, records: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    finetune("1.1", imported, run, records=records.with_name("pictures.json"), steps=2)
    first = Checkpoint.open(run / "1.1").manifest
    assert {part for part in first.parts if changed(imported, run / "1.1", part)} == {"vision_adapter"}
    finetune("2.2", run / "1.1", run, records=records, steps=2)
    second, config = Checkpoint.open(run / "2.2").manifest, Checkpoint.open(imported).config
    assert second.lineage == ["imported", "1.1", "2.2"] and second.licence == LICENCE and second.config == config
    assert tuple(second.parts) == tuple(Checkpoint.open(imported).manifest.parts)
    for part in ("language", "speech_encoder", "speech_prompt", "vision_encoder"):
        assert changed(imported, run / "2.2", part), part
    assert not changed(imported, run / "2.2", "speech_decoder")
    assert Checkpoint.open(run / "2.2").tokenizer().get_vocab_size() > 0
    reply = load_model(run / "2.2").reply([{"role": "user", "content": "hello"}], max_tokens=3, always=True)
    assert reply.token_ids


def test_without_records_it_learns_from_the_world(imported: Path, tmp_path: Path) -> None:
    finetune("2.1b", imported, tmp_path / "run", steps=1)
    manifest = Checkpoint.open(tmp_path / "run" / "2.1b").manifest
    assert manifest.parts["speech_adapter"].stage == "2.1b" and manifest.parts["language"].stage == "imported"
    assert manifest.data["samples"] == {"transcriptions": find_stage("2.1b").nano.batch}
    with pytest.raises(ValueError, match=r"stage 2\.1b is done in"):
        finetune("2.1b", imported, tmp_path / "run", steps=1)


def test_a_finished_model_gets_an_end_of_turn_head_and_nothing_else_changes(tiny_checkpoint: Path, tmp_path) -> None:
    whole = Checkpoint.open(tiny_checkpoint)
    parts = {part: whole.state_dict(part) for part in whole.parts if part != "end_of_turn_head"}
    start, run = tmp_path / "start", tmp_path / "run"
    save_stage(start, stage="3.2", config=whole.config, parts=parts, tokenizer=whole.tokenizer())
    options = Options(steps=1, batch=2, only=("end_of_turn_head",))
    train_stage(StageJob(stage="2.2", run=run, start=start, options=options), resume=False)
    made = Checkpoint.open(run / "2.2").manifest
    assert made.data["samples"] == {"cut_questions": 2} and set(made.parts) == {*parts, "end_of_turn_head"}
    assert [part for part, ref in made.parts.items() if ref.stage == "2.2"] == ["end_of_turn_head"]
    assert load_model(run / "2.2").end_of_turn_head is not None


def test_an_imported_model_gets_a_ctc_head_for_the_users_speech(imported: Path, records: Path, tmp_path: Path) -> None:
    speech = records.with_name("speech.jsonl")
    texts = ("ja, das ist gut", "nein")
    speech.write_text("".join(json.dumps({"audio": f"{i}.wav", "text": text}) + "\n" for i, text in enumerate(texts)))
    finetune("2.1a", imported, tmp_path / "run", records=speech, steps=1)
    made = Checkpoint.open(tmp_path / "run" / "2.1a")
    assert made.config.speech.ctc_alphabet == " adegijnstu" and made.manifest.parts["ctc_head"].stage == "2.1a"
    assert made.manifest.data["samples"] == {"speech": 2}


def test_the_released_codec_and_voice_finetune(imported: Path, tmp_path: Path) -> None:
    finetune("3.2", imported, tmp_path / "run", steps=1)
    assert changed(imported, tmp_path / "run" / "3.2", "speech_decoder")
    assert not changed(imported, tmp_path / "run" / "3.2", "codec_decoder")


def test_an_initialised_model_is_trained(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, run = load_model(tiny_checkpoint), tmp_path / "run"
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(tmp_path / "start", stage="initialised", config=model.config, parts=parts, tokenizer=model.tokenizer)
    finetune("2.1a", tmp_path / "start", run, steps=1)
    assert changed(tmp_path / "start", run / "2.1a", "ctc_head")
    finetune("1.1", run / "2.1a", run, steps=1)
    # A fresh adapter is rescaled to the size of the embeddings, also if other parts are trained by now.
    trained = load_model(run / "1.1", ["vision_encoder", "vision_adapter", "language"])
    made = trained.vision_adapter(trained.vision_encoder(torch.randn(4, 3, 32, 32)))
    size = trained.language.get_input_embeddings().weight.square().mean()
    assert 0.5 < (made.square().mean() / size).sqrt() < 2
    assert Checkpoint.open(run / "1.1").manifest.lineage == ["initialised", "2.1a", "1.1"]


def test_the_command_finetunes(imported: Path, records: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def parley(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["parley", "train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr().err

    run = tmp_path / "run"
    status, _ = parley("--from", imported, "--stage", "2.2", "--run", run, "--data", records, "--steps", "1")
    assert status == 0 and (run / "report.md").exists()
    status, err = parley("--from", imported, "--stage", "2.2")
    assert (status, err) == (2, "parley: --from needs --run, the folder that the stages are written to\n")
    status, err = parley("--from", imported, "--run", run)
    assert status == 2 and "--from without --data trains one stage over nano's world: name it with --stage" in err
    status, err = parley("--data", records)
    assert status == 2 and "--data goes with --from" in err


def test_what_cannot_be_is_refused_with_nothing_written(imported: Path, records: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name, data, says in (
        ("2.1a", None, "trains the CTC head, which vita-1.5 does not have"),
        ("9", None, "no stage '9'"),
        ("0.2", records, "learns from nano's world alone; leave --data out"),
        ("1.1", records, r"records.json\[\d\].*a record with audio, which stage 1.1 does not take in"),
    ):
        with pytest.raises(ValueError, match=says):
            finetune(name, imported, run, records=data, steps=1)
    records.write_text(json.dumps([{"id": "0", "image": "nowhere.png", "conversations": []}]))
    with pytest.raises(ValueError, match=r"records.json\[0\] \(id 0\): no conversations: .*--skip-bad"):
        finetune("1.1", imported, run, records=records, steps=1)
    assert not [stage.name for stage in STAGES if (run / stage.name).exists()]
