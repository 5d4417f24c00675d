"""Error rates over speech that a synthesizer makes, with the shipped model and one of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parley.checkpoints import Checkpoint, CheckpointError, load_model, save_stage
from parley.media.audio import write_wav
from training.data.world.speech.espeak import speaker
from training.evaluation.suites.asking import answer
from training.evaluation.suites.registry import SUITES
from training.evaluation.suites.suite import SuiteRun

ROOT = Path(__file__).parents[4]
NANO = ROOT / "checkpoints/nano"
SENTENCES = ("what is two plus three?", "what colour is the circle at the top left?")
NOTHING = np.zeros(8000, np.float32)


@pytest.fixture
def libri(tmp_path: Path) -> Path:
    """Two spoken sentences in LibriSpeech's layout, the second of them with a word too many in its transcript."""
    chapter = tmp_path / "LibriSpeech/test-clean/1/2"
    chapter.mkdir(parents=True)
    lines = []
    for number, text in enumerate(SENTENCES):
        write_wav(chapter / f"1-2-000{number}.flac", speaker().speak(text, "en-us", 150, sample_rate=16_000), 16_000)
        lines.append(f"1-2-000{number} {text.upper()}{' PLEASE' * number}\n")
    (chapter / "1-2.trans.txt").write_text("".join(lines))
    return tmp_path / "LibriSpeech"


def without(checkpoint: Path, out: Path, *parts: str) -> Path:
    """A copy of a checkpoint that lacks these parts."""
    model = load_model(checkpoint)
    kept = {name: part.state_dict() for name, part in model.named_children() if name not in parts}
    save_stage(out, stage="less", config=model.config, parts=kept, tokenizer=model.tokenizer)
    return out


def test_the_shipped_model_transcribes_synthetic_speech(libri: Path):
    run = SuiteRun(Checkpoint.open(NANO), libri)
    ctc = SUITES["librispeech"].measure(run)[0]
    assert ctc.name == "test-clean: WER, CTC head" and ctc.n == 2
    assert ctc.value == pytest.approx(100 / 14)  # the word that nobody said; "plus three" is "+3"
    assert run.left_out.count == 0


def test_what_cannot_be_measured_is_counted_and_named(libri: Path, tiny_checkpoint: Path):
    chapter = libri / "test-clean/1/2"
    with (chapter / "1-2.trans.txt").open("a") as file:
        file.write("1-2-0002 THE FILE IS MISSING\n1-2-0003\n")
    write_wav(chapter / "1-2-0003.flac", NOTHING, 16_000)
    run = SuiteRun(Checkpoint.open(tiny_checkpoint), libri)
    assert [measure.n for measure in SUITES["librispeech"].measure(run)] == [2, 2]
    assert run.left_out.count == 2
    assert "1-2-0002" in run.left_out.first[0] and "no sound file" in run.left_out.first[0]
    assert "1-2-0003" in run.left_out.first[1] and "no transcript" in run.left_out.first[1]


def test_nothing_to_measure_says_why(libri: Path, tiny_checkpoint: Path):
    for file in libri.rglob("*.flac"):
        file.unlink()
    with pytest.raises(ValueError, match=r"none of 2 records can be measured; the first.*no sound file"):
        SUITES["librispeech"].measure(SuiteRun(Checkpoint.open(tiny_checkpoint), libri))


def test_parts_decide_what_transcribes(libri: Path, tiny_checkpoint: Path, tmp_path: Path):
    def names(checkpoint: Path) -> list[str]:
        run = SuiteRun(Checkpoint.open(checkpoint), libri, count=1)
        return [measure.name for measure in SUITES["librispeech"].measure(run)]

    assert names(without(tiny_checkpoint, tmp_path / "a", "ctc_head")) == ["test-clean: WER, LLM"]
    assert names(without(tiny_checkpoint, tmp_path / "b", "language")) == ["test-clean: WER, CTC head"]
    with pytest.raises(CheckpointError, match="cannot transcribe"):
        names(without(tiny_checkpoint, tmp_path / "c", "ctc_head", "language"))


def test_a_model_without_a_state_writes_what_one_with_a_state_writes(tiny_checkpoint: Path):
    model = load_model(tiny_checkpoint)
    messages = [{"role": "user", "content": [{"type": "audio", "audio": NOTHING}, {"type": "text", "text": "write"}]}]
    expected = model.reply(messages, max_tokens=9, speak=False, always=True).text
    model.state_head = None
    assert expected and answer(model, messages, 9) == expected


def test_a_question_longer_than_the_model_reads_is_refused(tiny_checkpoint: Path):
    model = load_model(tiny_checkpoint)
    model.state_head = None
    with pytest.raises(ValueError, match="embeddings long"):
        answer(model, [{"role": "user", "content": "long " * 600}], 9)


def test_speech_in_any_format_is_measured_in_its_language(tiny_checkpoint: Path, tmp_path: Path):
    write_wav(tmp_path / "a.wav", NOTHING, 16_000)
    for text, unit in (("甚至 出现", "CER"), ("he hoped", "WER")):
        (tmp_path / "speech.jsonl").write_text(f'{{}}\n{{"audio": "a.wav", "text": "{text}"}}\n', encoding="utf-8")
        run = SuiteRun(Checkpoint.open(tiny_checkpoint), tmp_path / "speech.jsonl")
        assert [measure.name for measure in SUITES["speech"].measure(run)] == [
            f"speech.jsonl: {unit}, CTC head",
            f"speech.jsonl: {unit}, LLM",
        ]
