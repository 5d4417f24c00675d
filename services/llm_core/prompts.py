"""Messages on the wire → pieces of a prompt: a key for every position, and vectors where the position is no token.

A key says what stands at a position, so two prompts that begin with the same keys share their KV cache that far.
Tokens are their own key; a vector's key is negative and made of its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from parley.config import LanguageConfig
from parley.text.prompt import MediaSegment, PromptWriter, Segment
from protos.parley.v1 import language_model_pb2 as pb
from services.rpc import tensors

ROLES = {pb.Message.ROLE_SYSTEM: "system", pb.Message.ROLE_USER: "user", pb.Message.ROLE_ASSISTANT: "assistant"}
PART_TYPES = {"text": "text", "image": "image", "speech": "audio"}  # field on the wire → type of a part


@dataclass(frozen=True)
class Piece:
    """Positions in a row: token ids, or vectors [length, width] with their keys."""

    keys: list[int]
    vectors: torch.Tensor | None = None


def keys_of(vectors: torch.Tensor) -> list[int]:
    """One negative key a vector, of its content. vectors: [length, width] on the CPU."""
    lines = vectors.contiguous().view(torch.uint8).numpy()
    return [-1 - int.from_bytes(hashlib.blake2b(line, digest_size=8).digest()) for line in lines]


class PromptReader:
    """Reads what arrives for one model. Raises `ValueError` for what the model cannot be shown."""

    def __init__(self, config: LanguageConfig, tokenizer: Tokenizer, speech_prompt: torch.Tensor, dtype: torch.dtype):
        """speech_prompt: [vectors, width], put in front of every utterance. `dtype`: what the model computes in."""
        self.writer = PromptWriter.of(config, tokenizer)
        self._width = config.hidden_size
        self._dtype = dtype
        prompt = speech_prompt.detach().to("cpu", dtype)
        self._speech_prompt = Piece(keys_of(prompt), prompt)

    def history(self, messages: Iterable[pb.Message]) -> list[Piece]:
        """System prompt, history and the opening of the user's new message."""
        return self._pieces(self.writer.open_user([self._message(m, number) for number, m in enumerate(messages)]))

    def part(self, part: pb.Part, after_speech: bool) -> list[Piece]:
        """The next piece of the user's message; `after_speech`: the part before it was speech too."""
        return self._pieces(self.writer.parts([self._part(part)]), after_speech)

    def respond(self) -> list[Piece]:
        """The end of the user's message and the opening of the answer."""
        return self._pieces(self.writer.close_user_open_assistant())

    def _message(self, message: pb.Message, number: int) -> dict:
        if message.role not in ROLES:
            raise ValueError(f"message {number} has no role; use one of {', '.join(ROLES.values())}")
        try:
            return {"role": ROLES[message.role], "content": [self._part(part) for part in message.parts]}
        except ValueError as error:
            raise ValueError(f"message {number}: {error}") from None

    def _part(self, part: pb.Part) -> dict:
        field = part.WhichOneof("part")
        if field is None:
            raise ValueError("a part is empty; it holds text, an image or speech")
        kind = PART_TYPES[field]
        value = getattr(part, field)
        return {"type": kind, kind: value if field == "text" else self._vectors(value, field)}

    def _vectors(self, tensor, field: str) -> torch.Tensor:
        """[length, width] on the CPU in the model's dtype."""
        if tensor.dtype == "int64":
            raise ValueError(f"{field} vectors are int64; send float32, float16 or bfloat16")
        try:
            vectors = tensors.to_torch(tensor, (None, self._width), dtype=self._dtype)
        except ValueError as error:
            raise ValueError(f"{field}: {error}; the language model's width is {self._width}") from None
        if not torch.isfinite(vectors).all():
            raise ValueError(f"{field} vectors hold values that are not finite in {str(self._dtype)[6:]}")
        return vectors

    def _pieces(self, segments: Sequence[Segment], after_speech: bool = False) -> list[Piece]:
        pieces = []
        for segment in segments:
            if not isinstance(segment, MediaSegment):
                pieces.append(Piece(segment.ids))
                after_speech = False
                continue
            if segment.kind == "speech" and not after_speech:
                pieces.append(self._speech_prompt)
            after_speech = segment.kind == "speech"
            pieces.append(Piece(keys_of(segment.content), segment.content))
        return [piece for piece in pieces if piece.keys]
