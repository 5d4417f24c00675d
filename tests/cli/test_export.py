"""`parley export`: mistakes are named before anything is written."""

import pytest
from typer.testing import CliRunner

from cli.export import app
from parley.checkpoints import Checkpoint
from parley.checkpoints.manifest import CheckpointError
from parley.export.signature import vision_signature

run = CliRunner().invoke


def test_no_checkpoint(tmp_path):
    result = run(app, ["triton", str(tmp_path), str(tmp_path / "models")])
    assert isinstance(result.exception, CheckpointError) and "cannot read manifest.json" in str(result.exception)
    assert not (tmp_path / "models").exists()


def test_a_model_that_is_there_is_kept(tiny_checkpoint, tmp_path):
    source = Checkpoint.open(tiny_checkpoint)
    model = tmp_path / vision_signature(source.config, source.fingerprint).name
    model.mkdir()
    result = run(app, ["triton", str(tiny_checkpoint), str(tmp_path)])
    assert isinstance(result.exception, ValueError) and "is there already; remove it first" in str(result.exception)
    assert list(tmp_path.iterdir()) == [model] and list(model.iterdir()) == []


def test_a_model_that_encodes_whole_utterances_needs_a_chunk_size(tiny_checkpoint, tmp_path, monkeypatch):
    source = Checkpoint.open(tiny_checkpoint)
    speech = source.config.speech.model_copy(update={"chunk_size": -1})
    config = source.config.model_copy(update={"speech": speech})
    monkeypatch.setattr(source, "manifest", source.manifest.model_copy(update={"config": config}))
    monkeypatch.setattr(Checkpoint, "open", lambda path: source)
    result = run(app, ["triton", "any", str(tmp_path / "models"), "--only", "speech"])
    assert isinstance(result.exception, ValueError) and "choose a chunk size" in str(result.exception)


@pytest.mark.parametrize("options", [["--max-batch", "0"], ["--runtime", "other"], ["--dtype", "int8"]])
def test_bad_options(options):
    assert run(app, ["triton", "a", "b", *options]).exit_code == 2


def test_graphs_of_no_checkpoint(tmp_path):
    result = run(app, ["graphs", str(tmp_path)])
    assert isinstance(result.exception, CheckpointError) and "cannot read manifest.json" in str(result.exception)
