"""Loss, tokens and answers of dialogues, against a plain forward pass; and which records of a mix are measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from parley.checkpoints import Checkpoint, load_model
from parley.models.parley import Parley
from training.data.heldout import split
from training.data.mix import read_mix
from training.data.record_writer import write_records
from training.data.world import heldout
from training.evaluation.suites.registry import SUITES
from training.evaluation.suites.suite import SuiteRun

NANO = Path(__file__).parents[4] / "checkpoints/nano"


def record(number: int, answer: str = "a red square", **more) -> dict:
    turns = [{"from": "human", "value": "what is it?"}, {"from": "gpt", "value": answer}]
    return {"id": str(number), "conversations": turns, **more}


def write(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@torch.no_grad()
def plain_forward(model: Parley, question: str, answer: str) -> tuple[float, float]:
    """Loss, and percent of tokens right, of an answer and the token that closes it."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    segments = model.writer.render(messages)
    ids = torch.tensor([i for segment in segments for i in segment.ids])
    learned = torch.tensor([segment.answer for segment in segments for _ in segment.ids])
    logits = model.language(input_ids=ids[None]).logits[0, :-1][learned[1:]]
    labels = ids[1:][learned[1:]]
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return loss.item(), 100 * (logits.argmax(-1) == labels).float().mean().item()


def test_loss_and_tokens_are_those_of_a_plain_forward_pass(tiny_checkpoint: Path, tmp_path: Path):
    file = write(tmp_path / "records.jsonl", [record(0, "hello, how are you"), record(1, "five")])
    measured = SUITES["dialogues"].measure(SuiteRun(Checkpoint.open(tiny_checkpoint), file, count=1))
    loss, right = plain_forward(load_model(tiny_checkpoint), "what is it?", "hello, how are you")
    assert [measure.name for measure in measured] == [
        "records.jsonl: answers matched exactly",
        "records.jsonl: tokens right",
        "records.jsonl: loss, nats a token",
    ]
    assert measured[2].value == pytest.approx(loss, rel=1e-4) and measured[1].value == pytest.approx(right)
    assert measured[0].n == 1


def test_the_shipped_model_matches_answers_about_pictures(tmp_path: Path):
    asked = enumerate(heldout.questions(heldout.SEEDS[0], 1))
    # The shipped weights learned to say "it is at …" where something is, and the world now names the thing.
    samples = [(str(number), sample) for number, sample in asked if sample.about["kind"] != "where"]
    write_records(samples, tmp_path)
    measured = SUITES["dialogues"].measure(SuiteRun(Checkpoint.open(NANO), tmp_path / "records.jsonl"))
    assert measured[0].value == 100 and measured[1].value == 100 and measured[2].value < 0.1


def test_what_the_model_does_not_take_in_is_left_out(tiny_checkpoint: Path, tmp_path: Path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    long = record(1, "so " * 600)
    file = write(tmp_path / "records.jsonl", [record(0), long, record(2, image="none.png"), record(3, image="a.png")])
    run = SuiteRun(Checkpoint.open(tiny_checkpoint), file)
    assert SUITES["dialogues"].measure(run)[0].n == 2
    assert run.left_out.count == 2 and "tokens; the model reads 512" in run.left_out.first[0]


def test_of_a_mix_what_training_holds_out_is_measured(tiny_checkpoint: Path, tmp_path: Path):
    write(tmp_path / "text.jsonl", [record(number, f"{number} red squares") for number in range(60)])
    write(tmp_path / "few.jsonl", [record(number) for number in range(5)])
    (tmp_path / "mix.yaml").write_text("sources: [{kind: text, path: text.jsonl}, {kind: questions, path: few.jsonl}]")
    measured = SUITES["dialogues"].measure(SuiteRun(Checkpoint.open(tiny_checkpoint), tmp_path / "mix.yaml"))
    held_out = len(split(read_mix(tmp_path / "mix.yaml").sources)[0].held_out)
    assert [(measure.name, measure.n) for measure in measured[:1]] == [
        ("text, held-out text: answers matched exactly", held_out)
    ]
    assert len(measured) == 3


def test_a_mix_that_holds_nothing_out_is_refused(tiny_checkpoint: Path, tmp_path: Path):
    write(tmp_path / "few.jsonl", [record(number) for number in range(5)])
    (tmp_path / "mix.yaml").write_text("sources: [{kind: text, path: few.jsonl}]")
    with pytest.raises(ValueError, match="holds no dialogue out"):
        SUITES["dialogues"].measure(SuiteRun(Checkpoint.open(tiny_checkpoint), tmp_path / "mix.yaml"))
