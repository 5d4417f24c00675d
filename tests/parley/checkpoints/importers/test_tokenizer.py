"""Tokenizers and chat formats of Hugging Face folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from parley.checkpoints import CheckpointError
from parley.checkpoints.importers.tokenizer import read_chat_format, read_tokenizer
from parley.config import ChatFormat

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("chat_template.jinja", TEMPLATE),
        ("tokenizer_config.json", json.dumps({"chat_template": TEMPLATE})),
        ("tokenizer_config.json", json.dumps({"chat_template": [{"name": "default", "template": TEMPLATE}]})),
        ("tokenizer_config.json", "{}"),  # no template at all: ChatML
    ],
)
def test_the_chat_format_is_the_folders(tmp_path: Path, chatml_tokenizer: Tokenizer, file: str, content: str) -> None:
    stops = [chatml_tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    (tmp_path / file).write_text(content)
    assert read_chat_format(tmp_path, chatml_tokenizer) == ChatFormat()


def test_a_template_that_cannot_be_used_is_an_error_of_the_folder(tmp_path: Path, chatml_tokenizer: Tokenizer) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ 1 / 0 }}")
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: the chat template cannot be used"):
        read_chat_format(tmp_path, chatml_tokenizer)


def test_a_tokenizer_of_two_files(tmp_path: Path, chatml_tokenizer: Tokenizer) -> None:
    chatml_tokenizer.model.save(str(tmp_path))
    special = {
        str(i): {"content": t.content, "special": True} for i, t in chatml_tokenizer.get_added_tokens_decoder().items()
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": special}))
    read = read_tokenizer(tmp_path)
    text = "<|im_start|>hello, what is it?<|im_end|>"
    assert read.encode(text, add_special_tokens=False).ids == chatml_tokenizer.encode(text).ids
    assert read_tokenizer(tmp_path / "nowhere") is None
