"""The tokenizer and the chat format of a Hugging Face folder.

A chat template is a program; ours is five strings. They are found by running the template on a short conversation and
looking at what stands between its messages; a template that cannot be put so is refused.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from parley.checkpoints import CheckpointError
from parley.checkpoints.importers.transfer import read_json
from parley.config import ChatFormat

SYSTEM, USER, ANSWER, AGAIN = "(the rules)", "(a question)", "(an answer)", "(another question)"


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
    from transformers import PreTrainedTokenizerFast

    runner = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)
    system, user = {"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}
    answer, again = {"role": "assistant", "content": ANSWER}, {"role": "user", "content": AGAIN}
    try:
        opened = runner.apply_chat_template([system, user, answer, again], tokenize=False, add_generation_prompt=True)
        closed = runner.apply_chat_template([system, user], tokenize=False)
        bare = runner.apply_chat_template([user], tokenize=False)
        system_open, rest = opened.split(SYSTEM)
        before_user, rest = rest.split(USER)
        before_answer, rest = rest.split(ANSWER)
        before_again, after = rest.split(AGAIN)
        close = closed.split(USER)[1]
        user_open, assistant_open = before_user.removeprefix(close), before_answer.removeprefix(close)
        default = bare.split(USER)[0].removesuffix(user_open).removeprefix(system_open).removesuffix(close)
    except Exception as error:  # a template may raise anything
        raise CheckpointError(f"the chat template in {folder} cannot be used: {error}") from None
    first_stop = next(iter(tokenizer.encode(close, add_special_tokens=False).tokens), "")
    chat = ChatFormat(
        system_open=system_open, user_open=user_open, assistant_open=assistant_open, close=close,
        stop=tuple(dict.fromkeys((first_stop, *stops))), default_system=default,
    )  # fmt: skip
    bare_again = (f"{system_open}{default}{close}" if default else "") + f"{user_open}{USER}{close}"
    if (before_again, after) != (close + user_open, close + assistant_open) or bare_again != bare:
        raise CheckpointError(f"the chat template in {folder} is not strings around messages")
    return chat


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
