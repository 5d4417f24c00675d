"""AISHELL-1 (openslr.org/33): wav/SPLIT/SPEAKER/*.wav and one transcript/aishell_transcript_v0.8.txt for all of them.

Notable points:
- A line of the transcript is "BAC009S0002W0122 而 对 楼市 …": the id, in which S0002 is the speaker, and words. Spaces
  between words are no part of written Chinese and are taken out.
- A few Latin letters are of full width; they become ordinary ones.
- The published archive has some hundred recordings without a transcript. They are counted as such.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.data.converters.corpus import audio_files, transcripts, utterances
from training.data.converters.part import Item, Part, find_root, split_of
from training.data.records import Bad

TRANSCRIPT = Path("transcript/aishell_transcript_v0.8.txt")
WANTED = f"it needs {TRANSCRIPT} and wav/train/S0002/*.wav"
SPEAKER = slice(6, 11)  # of an id: BAC009S0002W0122

Texts = dict[str, dict[str, str]]  # speaker → id → text


def parts(source: Path) -> list[Part]:
    """A part for each of train, dev and test that was unpacked. Raises `ValueError` where speakers are still packed."""
    root = find_root(source, "data_aishell", "aishell-1", WANTED, lambda path: (path / TRANSCRIPT).is_file())
    splits = [path for path in (root / "wav" / name for name in ("train", "dev", "test")) if path.is_dir()]
    if packed := sorted((root / "wav").glob("*.tar.gz")):
        unpack = f"cd {root / 'wav'} && for file in *.tar.gz; do tar xzf $file && rm $file; done"
        raise ValueError(f"{len(packed)} speakers are still packed, {packed[0].name} for one: {unpack}")
    if not splits:
        raise ValueError(
            f"{source} is not of the layout aishell-1: {WANTED}; there is no wav/train, wav/dev or wav/test"
        )
    texts = by_speaker(root / TRANSCRIPT)
    return [Part(path.name, "transcriptions", root, *entries(root, path, texts)) for path in splits]


def entries(root: Path, split: Path, texts: Texts) -> tuple[partial, str, int]:
    """The last fields of a part: its items, its split, how many items there are."""
    speakers = sorted(path for path in split.glob("[!.]*") if path.is_dir())
    count = sum(len(texts.get(speaker.name, ())) for speaker in speakers)
    return partial(items, root, speakers, texts), split_of(split.name), count


def items(root: Path, speakers: list[Path], texts: Texts) -> Iterator[Item | Bad]:
    """The utterances of a split, speaker by speaker."""
    for folder in speakers:
        own = texts.get(folder.name, {})
        yield from utterances(root, folder.name, own, audio_files(folder, "wav"), root / TRANSCRIPT)


def by_speaker(path: Path) -> Texts:
    """All transcripts: 141,600 lines, about 40 MB in memory."""
    texts: Texts = {}
    for name, words in transcripts(path).items():
        text = unicodedata.normalize("NFKC", "".join(words.split()))
        texts.setdefault(name[SPEAKER], {})[name] = text
    return texts
