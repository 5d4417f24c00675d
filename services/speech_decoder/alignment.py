"""Which words of a clause are spoken by the end of a codec frame."""

from __future__ import annotations

from itertools import accumulate

import torch

from parley.models.speech_decoder import SpeechDecoder
from parley.text.clauses import Clause, begins_word, unspaced

# Of speech; for decoders without token durations. In scripts without spaces a character is about a syllable, of which
# Mandarin has 5.2 a second (Pellegrino, Coupé and Marsico 2011, https://doi.org/10.1353/lan.2011.0057).
CHARACTERS_PER_SECOND, UNSPACED_PER_SECOND = 14, 5.2


def seconds_of(text: str) -> float:
    """How long it takes to say a text, about."""
    syllables = unspaced(text)
    return (len(text) - syllables) / CHARACTERS_PER_SECOND + syllables / UNSPACED_PER_SECOND


class Alignment:
    """Expected times of a clause's tokens, in codec frames."""

    def __init__(self, clause: Clause, decoder: SpeechDecoder, frame_rate: float):
        """`frame_rate`: codec frames a second."""
        self.pieces = clause.pieces
        if decoder.config.position == "expected_time":
            ids = torch.tensor([clause.ids], device=decoder.token_frames.device)
            self.ends = decoder.expected_frames(ids)[0].tolist()
        else:
            self.ends = [frame_rate * seconds for seconds in accumulate(map(seconds_of, clause.pieces))]

    def text_at(self, frame: int) -> str:
        """The whole words that are expected to be spoken by the end of a frame."""
        text = before = ""
        for piece, following, end in zip(self.pieces, self.pieces[1:], self.ends, strict=False):
            if end > frame:
                break
            before += piece
            if begins_word(following, before):
                text = before
        return text
