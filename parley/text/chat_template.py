"""A chat template as five strings.

A chat template is a program; `ChatFormat` is the strings that open and close a message. They are found by running the
template on a short conversation and taking the text between its messages. A template that does more is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer

from parley.config import ChatFormat

SYSTEM, USER, ANSWER, AGAIN = "(the rules)", "(a question)", "(an answer)", "(another question)"


@dataclass(frozen=True)
class _Rendered:
    """What a template makes of the conversation of the four messages above."""

    opened: str  # all four, and the opening of an answer
    closed: str  # the first two
    bare: str  # the user's first message alone


def chat_format(template: str, tokenizer: Tokenizer, stops: tuple[str, ...] = ()) -> ChatFormat:
    """The strings of a template. `stops`: further tokens that end an answer.

    Raises `ValueError` for a template that fails or is not strings around messages.
    """
    try:
        rendered = _render(template, tokenizer)
        chat = _strings(rendered, tokenizer, stops)
    except Exception as error:  # a template may raise anything
        raise ValueError(f"the chat template cannot be used: {error}") from None
    if _write(chat) != rendered:
        raise ValueError("the chat template is not strings around messages")
    return chat


def _render(template: str, tokenizer: Tokenizer) -> _Rendered:
    from transformers import PreTrainedTokenizerFast

    runner = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)
    roles = ("system", SYSTEM), ("user", USER), ("assistant", ANSWER), ("user", AGAIN)
    messages = [{"role": role, "content": content} for role, content in roles]
    return _Rendered(
        runner.apply_chat_template(messages, tokenize=False, add_generation_prompt=True),
        runner.apply_chat_template(messages[:2], tokenize=False),
        runner.apply_chat_template(messages[1:2], tokenize=False),
    )


def _strings(rendered: _Rendered, tokenizer: Tokenizer, stops: tuple[str, ...]) -> ChatFormat:
    """The strings between the messages."""
    system_open, rest = rendered.opened.split(SYSTEM)
    before_user, rest = rest.split(USER)
    before_answer = rest.split(ANSWER)[0]
    close = rendered.closed.split(USER)[1]
    user_open = before_user.removeprefix(close)
    default = rendered.bare.split(USER)[0].removesuffix(user_open).removeprefix(system_open).removesuffix(close)
    first_stop = next(iter(tokenizer.encode(close, add_special_tokens=False).tokens), "")
    return ChatFormat(
        system_open=system_open,
        user_open=user_open,
        assistant_open=before_answer.removeprefix(close),
        close=close,
        stop=tuple(dict.fromkeys((first_stop, *stops))),
        default_system=default,
    )


def _write(chat: ChatFormat) -> _Rendered:
    """The conversation written with the strings."""
    close = chat.close
    closed = f"{chat.system_open}{SYSTEM}{close}{chat.user_open}{USER}{close}"
    answered = f"{chat.assistant_open}{ANSWER}{close}{chat.user_open}{AGAIN}{close}"
    default = f"{chat.system_open}{chat.default_system}{close}" if chat.default_system else ""
    return _Rendered(
        f"{closed}{answered}{chat.assistant_open}",
        closed,
        f"{default}{chat.user_open}{USER}{close}",
    )
