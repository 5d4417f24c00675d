"""The speakers of a checkpoint: names for the utterance-level tokens of its codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parley.config import CodecConfig

DEFAULT_SPEAKER = "default"


def speakers_of(codec: CodecConfig) -> dict[str, tuple[int, ...]]:
    """Tokens by name; the default speaker is the first."""
    return {DEFAULT_SPEAKER: codec.default_speaker or (0,) * codec.num_speaker_tokens}


def choose_speaker(
    name: str, tokens: Sequence[int], speakers: Mapping[str, Sequence[int]], codec: CodecConfig
) -> list[int]:
    """The tokens of a speaker: the given ones if there are any, else those of the name, else the default speaker's.

    Raises `ValueError` for an unknown name and for tokens that the codec does not have.
    """
    if tokens:
        count, codes = codec.num_speaker_tokens, codec.speaker_codes
        if len(tokens) != count or not all(0 <= token < codes for token in tokens):
            raise ValueError(f"a speaker is {count} tokens from 0 to {codes - 1}; got {list(tokens[:20])}")
        return list(tokens)
    name = name or DEFAULT_SPEAKER
    if name not in speakers:
        raise ValueError(f"no speaker {name!r}; there are: {', '.join(speakers)}")
    return list(speakers[name])
