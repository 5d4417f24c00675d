"""The folder that vLLM reads: a Qwen2 of `transformers`, whose output head has further rows."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from parley.checkpoints import Checkpoint, CheckpointError, save_stage
from services.llm_core.vllm_backend.model_folder import SIZE, write_config, write_weights
from tests.services.llm_core.asking import plain_language

ROWS = 3


@pytest.fixture
def saved(tiny_config, tmp_path):
    """A function: (the plain model, its checkpoint, an empty folder)."""

    def save(tied: bool):
        config = tiny_config.language.model_copy(update={"tie_word_embeddings": tied})
        plain = plain_language(config)
        whole = tiny_config.model_copy(update={"language": config})
        save_stage(tmp_path / "checkpoint", stage="random", config=whole, parts={"language": plain.state_dict()})
        (tmp_path / "vllm").mkdir()
        return plain, Checkpoint.open(tmp_path / "checkpoint"), tmp_path / "vllm"

    return save


@pytest.mark.parametrize("tied", [True, False])
def test_heads_are_rows_behind_the_vocabulary(saved, tied):
    plain, checkpoint, folder = saved(tied)
    config, rows = checkpoint.config.language, torch.randn(ROWS, checkpoint.config.language.hidden_size)
    write_config(config, ROWS, folder)
    write_weights(checkpoint, rows, folder)
    read = Qwen2ForCausalLM(Qwen2Config.from_pretrained(folder)).eval()
    (file,) = folder.glob("*.safetensors")
    read.load_state_dict(load_file(file), strict=not tied)
    read.tie_weights()
    assert getattr(read.config, SIZE) == config.vocab_size == read.config.vocab_size - ROWS
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        expected, found = plain(ids), read(ids)
        hidden = plain.model(ids).last_hidden_state
    torch.testing.assert_close(found.logits[..., :-ROWS], expected.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.logits[..., -ROWS:], hidden @ rows.T, rtol=1e-4, atol=1e-4)


def test_without_heads_the_checkpoint_s_own_file_is_read(saved):
    _, checkpoint, folder = saved(True)
    write_config(checkpoint.config.language, 0, folder)
    write_weights(checkpoint, None, folder)
    (file,) = folder.glob("*.safetensors")
    assert file.is_symlink() and file.resolve().parent == checkpoint.path.resolve()


@pytest.mark.parametrize("rows", [None, torch.zeros(1, 48)])
def test_a_damaged_file_is_refused(saved, rows):
    """It was read past the manifest's hashes."""
    _, checkpoint, folder = saved(True)
    file = checkpoint.path / "language.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="does not have the hash in the manifest"):
        write_weights(checkpoint, rows, folder)
