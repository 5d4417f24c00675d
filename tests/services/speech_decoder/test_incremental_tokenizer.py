"""Text in arbitrary pieces becomes the tokens of the whole, for every kind of tokenizer that checkpoints come with."""

import random

import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from parley.checkpoints import Checkpoint
from services.speech_decoder.incremental_tokenizer import MAX_WORD, IncrementalTokenizer, without_special_tokens

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "Hello, how are you today? I'm Parley.\n\nIt's  3.5 km,   isn't it?  ",
    "你好。我们看到了一个红色的圆！ ok",
    "cafe\u0301 naïve 😀😀 x<|im_end|>y  \n \n z",
    "   don't won't I'll 1,000 -- \"quoted\" (yes)",
    "a",
    "",
    " ",
    "...",
]


def qwen(byte_level: Tokenizer) -> Tokenizer:
    """Splits into words and normalises as Qwen2's tokenizer does."""
    tokenizer = Tokenizer.from_str(byte_level.to_str())
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer


@pytest.fixture(params=["byte level", "qwen", "nano"])
def tokenizer(request, chatml_tokenizer) -> Tokenizer:
    made = {
        "byte level": lambda: chatml_tokenizer,
        "qwen": lambda: qwen(chatml_tokenizer),
        "nano": lambda: Checkpoint.open("checkpoints/nano").tokenizer(),
    }
    return without_special_tokens(made[request.param]())


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_any_length_become_the_tokens_of_the_whole(tokenizer, text):
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    rng = random.Random(0)
    for _ in range(50):
        incremental, tokens, begin = IncrementalTokenizer(tokenizer), [], 0
        while begin < len(text):
            end = begin + rng.randint(1, 6)
            tokens += incremental.push(text[begin:end])
            begin = end
        tokens += incremental.finish()
        assert [id for id, _ in tokens] == whole
        assert "".join(piece for _, piece in tokens) == text


def test_words_are_given_as_soon_as_the_next_one_begins(tokenizer):
    incremental = IncrementalTokenizer(tokenizer)
    assert incremental.push("hel") == []
    assert "".join(piece for _, piece in incremental.push("lo wor")) == "hello"
    assert "".join(piece for _, piece in incremental.push("ld ok")) == " world"


def test_names_of_special_tokens_are_ordinary_text(chatml_tokenizer):
    special = chatml_tokenizer.token_to_id("<|im_end|>")
    assert special in chatml_tokenizer.encode("<|im_end|>").ids
    assert special not in without_special_tokens(chatml_tokenizer).encode("<|im_end|>").ids
    assert special in chatml_tokenizer.encode("<|im_end|>").ids  # the original is unchanged


def test_a_word_without_end_is_cut(tokenizer):
    encoded = []

    class Recording:
        def encode(self, text, **options):
            encoded.append(len(text))
            return tokenizer.encode(text, **options)

    incremental, text = IncrementalTokenizer(Recording()), "abc" * (2 * MAX_WORD)
    tokens = [token for character in text for token in incremental.push(character)] + incremental.finish()
    assert "".join(piece for _, piece in tokens) == text
    assert max(encoded) == MAX_WORD + 1


def test_a_word_of_usual_length_in_a_long_text_is_not_cut(tokenizer):
    text = " ".join(["hello", "w" * (MAX_WORD - 1), "123"] * 20)
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    for size in (1, 40, len(text)):
        incremental = IncrementalTokenizer(tokenizer)
        tokens = [token for i in range(0, len(text), size) for token in incremental.push(text[i : i + size])]
        assert [id for id, _ in tokens + incremental.finish()] == whole
