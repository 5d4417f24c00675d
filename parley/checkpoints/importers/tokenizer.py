"""The tokenizer and the chat format of a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from parley.checkpoints.importers.transfer import config_errors, read_json
from parley.checkpoints.manifest import CheckpointError
from parley.config import ChatFormat
from parley.text.chat_template import chat_format


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The folder's tokenizer, from `tokenizer.json` or `vocab.json` and `merges.txt`; None if it has neither."""
    try:
        if (folder / "tokenizer.json").exists():
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
            from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

            return Qwen2Tokenizer.from_pretrained(str(folder)).backend_tokenizer
    except Exception as error:  # the library raises bare `Exception`
        raise CheckpointError(f"the tokenizer in {folder} cannot be read: {error}") from None
    return None


def read_chat_format(folder: Path, tokenizer: Tokenizer) -> ChatFormat:
    """The folder's chat format: from its template if it has one, else ChatML, as Qwen2.5 has it.

    Raises `CheckpointError` for a template that is not strings around messages.
    """
    template = _template(folder)
    stops = _stop_tokens(folder, tokenizer)
    if template is None:
        return ChatFormat(stop=stops or ChatFormat().stop)
    with config_errors(folder):
        return chat_format(template, tokenizer, stops)


def _template(folder: Path) -> str | None:
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if not (folder / "tokenizer_config.json").exists():
        return None
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several by name
        template = next((t.get("template") for t in template if t.get("name") == "default"), None)
    return template


def _stop_tokens(folder: Path, tokenizer: Tokenizer) -> tuple[str, ...]:
    """The tokens that end an answer, as the folder's generation settings have them."""
    if not (folder / "generation_config.json").exists():
        return ()
    ids = read_json(folder / "generation_config.json").get("eos_token_id")
    ids = ids if isinstance(ids, list) else [ids]
    tokens = (tokenizer.id_to_token(i) for i in ids if isinstance(i, int))
    return tuple(token for token in tokens if token is not None)
