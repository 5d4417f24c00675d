"""What the CTC head of stage 2.1a writes: the letters of the transcripts, and their most frequent words whole.

Notable points:
- Letters, accents, digits and the apostrophe are written. All other characters become spaces; the report counts them,
  and the transcripts of which nothing is left.
- Chinese and Japanese characters are letters, and spaces beside them are no part of a text.
- Made once a run and kept in a file: a resumed stage must have the ids that its weights were trained with.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parley.config import ParleyConfig
from parley.text.ctc import UNSPACED_CHARACTER, composed, spaced
from training.distributed.process_group import is_main_process, rank

MOST_LETTERS = 10_000  # AISHELL-1 has 4,230 characters, the common Chinese ones are 7,000
MOST_WORDS = 1_000
FEWEST = 50  # times that a word must be there to be written whole
COUNTED_WORDS = 500_000  # different words that are counted at a time
SHOWN = 20  # characters in a message
APOSTROPHE = "'"


class CtcPieces(BaseModel):
    """The letters and words of a CTC head, and what was found when they were made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alphabet: str = Field(description="Letters, a space first, then in order of their code points")
    words: tuple[str, ...] = Field(description="Words that are written whole, the most frequent first")
    transcripts: int = Field(description="Transcripts that were read")
    empty: int = Field(description="Transcripts without letters and digits")
    with_digits: int = Field(description="Transcripts with digits, which are written as digits")
    spaces: dict[str, int] = Field(description="Characters that become spaces, with how often they were read")

    def __str__(self) -> str:
        lines = [
            f"CTC head of {self.transcripts} transcripts: {len(self.alphabet)} letters with the space, "
            f"{len(self.words)} whole words; {self.with_digits} transcripts with digits, {self.empty} without letters"
        ]
        return "\n".join(lines + ([f"  written as spaces: {counted(self.spaces)}"] if self.spaces else []))

    def applied(self, config: ParleyConfig) -> ParleyConfig:
        """The config of a model whose CTC head writes these."""
        speech = config.speech.model_copy(update={"ctc_alphabet": self.alphabet, "ctc_words": self.words})
        return config.model_copy(update={"speech": speech})


class Written(dict):
    """A table for `str.translate`: each character in lower case, what is no letter a space."""

    def __missing__(self, code: int) -> str:
        self[code] = "".join(c if is_letter(c) else " " for c in chr(code).lower())
        return self[code]


def is_letter(character: str) -> bool:
    """Whether a CTC head can write it: a letter, a mark that belongs to one, a digit, the apostrophe."""
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "Nd" or character == APOSTROPHE


def make_pieces(
    transcripts: Iterable[str], *, most_letters: int = MOST_LETTERS, most_words: int = MOST_WORDS, fewest: int = FEWEST
) -> CtcPieces:
    """The pieces of these transcripts; the same for the same transcripts in the same order.

    Args:
        most_letters: of the alphabet, without the space; more are refused.
        most_words: that are written whole.
        fewest: times that such a word must be there.

    Raises `ValueError` for transcripts without letters, or with more than `most_letters` different ones.
    """
    table, characters, words = Written(), Counter(), Counter()
    read = empty = with_digits = 0
    for transcript in transcripts:
        text = composed(transcript)
        characters.update(text)
        said = spaced(text.translate(table))
        words.update(word for word in said.split() if not UNSPACED_CHARACTER.search(word))
        read, empty = read + 1, empty + (not any(c != APOSTROPHE for c in said))
        with_digits += any(map(str.isdecimal, said))
        if len(words) > COUNTED_WORDS:
            words = Counter(dict(words.most_common(COUNTED_WORDS // 2)))  # the rare ones would not be among the first
    letters = letters_of(characters, most_letters)
    frequent = sorted((-count, word) for word, count in words.items() if count >= fewest)
    silent = {c: n for c, n in characters.most_common() if not c.isspace() and not table[ord(c)].strip()}
    return CtcPieces(
        alphabet=" " + "".join(sorted(letters)), words=tuple(word for _, word in frequent[:most_words]),
        transcripts=read, empty=empty, with_digits=with_digits, spaces=silent,
    )  # fmt: skip


def letters_of(characters: Counter[str], most: int) -> set[str]:
    """The letters among the characters, in lower case. Raises `ValueError` for none, or for more than `most`."""
    letters: Counter[str] = Counter()
    for character, count in characters.items():
        letters.update({c: count for c in character.lower() if is_letter(c)})
    if not letters.keys() - {APOSTROPHE}:
        raise ValueError(
            f"the {sum(characters.values())} characters of the transcripts have no letter that a CTC head could write"
        )
    if len(letters) > most:
        rarest = dict(sorted(letters.items(), key=lambda item: (item[1], item[0])))
        raise ValueError(
            f"the transcripts have {len(letters)} different letters, at most {most} are allowed; the rarest, with how "
            f"often they are there: {counted(rarest)}; do these transcripts belong to this data?"
        )
    return set(letters)


def counted(characters: dict[str, int]) -> str:
    """The first characters of a dictionary with their counts, for a message."""
    first = ", ".join(f"{c if c.isprintable() else ascii(c)} {n}×" for c, n in list(characters.items())[:SHOWN])
    return first if len(characters) <= SHOWN else f"{first} and {len(characters) - SHOWN} others"


def pieces_once(file: Path, transcripts: Callable[[], Iterable[str]]) -> CtcPieces:
    """The pieces in a file, which is made first, and shown, if it is not there. Raises `ValueError` for a damaged
    file."""
    if not file.exists():
        made = make_pieces(transcripts())
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{rank()}.part")  # every process of the stage may make it
        temporary.write_text(made.model_dump_json(indent=1), encoding="utf-8")
        temporary.replace(file)
        if is_main_process():
            print(made, flush=True)
    try:
        return CtcPieces.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is damaged; it is made again when it is removed: {error}") from None
