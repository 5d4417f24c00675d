"""Chat templates that are strings around messages, and those that are more."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from parley.config import ChatFormat
from parley.text.chat_template import chat_format

# As Qwen2.5's: a default system message, and ChatML.
TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_the_strings_are_found(chatml_tokenizer: Tokenizer) -> None:
    assert chat_format(TEMPLATE, chatml_tokenizer, ("<|endoftext|>",)) == ChatFormat(default_system="You are helpful.")


@pytest.mark.parametrize(
    "template",
    ["{{ messages[0].content }}", "{% if %}", "{{ 1 / 0 }}", TEMPLATE.replace("message.role", "loop.index")],
)
def test_a_template_that_is_no_strings_around_messages_is_refused(chatml_tokenizer: Tokenizer, template: str) -> None:
    with pytest.raises(ValueError, match=r"the chat template (cannot be used|is not strings around messages)"):
        chat_format(template, chatml_tokenizer)
