"""Which words of a clause are spoken by the end of a codec frame."""

from __future__ import annotations

import torch

from parley.models.speech_decoder import SpeechDecoder
from parley.text.clauses import Clause

CHARACTERS_PER_SECOND = 14  # of speech; for decoders without token durations


class Alignment:
    """Expected times of a clause's tokens, in codec frames."""

    def __init__(self, clause: Clause, decoder: SpeechDecoder, frame_rate: float):
        """`frame_rate`: codec frames a second."""
        self.pieces = clause.pieces
        if decoder.config.position == "expected_time":
            ids = torch.tensor([clause.ids], device=decoder.token_frames.device)
            self.ends = decoder.expected_frames(ids)[0].tolist()
        else:
            characters, self.ends = 0, []
            for piece in clause.pieces:
                characters += len(piece)
                self.ends.append(characters * frame_rate / CHARACTERS_PER_SECOND)

    def text_at(self, frame: int) -> str:
        """The whole words that are expected to be spoken by the end of a frame."""
        text = ""
        for i, end in enumerate(self.ends[:-1]):
            if end > frame:
                break
            if self.pieces[i + 1][:1].isspace():
                text = "".join(self.pieces[: i + 1])
        return text
