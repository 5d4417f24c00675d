"""The tokenizer of a model that starts from nothing: each word of the corpus is one token, other words are spelled.

Notable points:
- A Unigram model whose pieces all cost the same, so that the fewest pieces win: known words are one piece.
- Text is lower-cased and stripped of accents first; a character outside the alphabet becomes one `<unk>`.
- One token a word keeps answers short and gives the speech decoder one expected duration a word.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from parley.config import LanguageConfig

UNKNOWN = "<unk>"
SPACE = "▁"
ALPHABET = string.ascii_lowercase + string.digits + "'.,?!-"


def train_tokenizer(texts: Iterable[str], config: LanguageConfig) -> Tokenizer:
    """A tokenizer of at most `config.vocab_size` tokens for these texts, with the chat format's special tokens.

    Raises `ValueError` if the vocabulary has no room for the alphabet.
    """
    chat = config.chat
    markup = (chat.system_open, chat.user_open, chat.assistant_open, chat.close, *chat.stop)
    special = list(dict.fromkeys(markup))
    single = [SPACE, *ALPHABET]
    room = config.vocab_size - len(special) - 1 - len(single)
    if room < 0:
        raise ValueError(f"a vocabulary of {config.vocab_size} has no room for the alphabet of {len(single)}")
    words = Counter(word for text in texts for word in re.findall(r"[a-z']+", text.lower()))
    ranked = [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))]
    pieces = list(dict.fromkeys([*single, *(SPACE + word for word in ranked[:room])]))
    # Each piece costs as much as any other.
    tokenizer = Tokenizer(models.Unigram([(UNKNOWN, -10.0), *((piece, -1.0) for piece in pieces)], unk_id=0))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer
