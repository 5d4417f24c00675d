"""What both codecs share: codebooks, and a decoder that is codebooks plus a generator.

Notable points:
- The codebooks belong to the decoder: decoding needs one part, encoding both.
- A frame has `groups × layers` codes (one in both presets). With one, codes are [b, t]; with more, [b, t, codes],
  residual rounds outermost.
- A speaker is a few integers, one code a group for a whole utterance. The generator adds their codewords to every
  frame.
- The codebooks are buffers: they are trained by running means of the vectors assigned to them, not by a gradient.
- `voice_quantizer` and the other modules called `voice` hold speaker tokens; stored tensors have these names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Codebook(nn.Module):
    """`num_codes` vectors of size `dim`."""

    weight: Tensor

    def __init__(self, num_codes: int, dim: int):
        super().__init__()
        self.register_buffer("weight", torch.randn(num_codes, dim))

    def assign(self, vectors: Tensor) -> Tensor:
        """[..., dim] → ids [...] of the nearest codeword, Euclidean."""
        # The length of the vector itself is the same for every codeword and is left out.
        flat = vectors.reshape(-1, vectors.shape[-1])
        distances = self.weight.square().sum(1) - 2 * flat @ self.weight.T
        return distances.argmin(1).view(vectors.shape[:-1])

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(ids, self.weight)


class Quantizer(nn.Module):
    """Splits a vector into `groups`, and quantizes each in `layers` residual rounds."""

    def __init__(self, num_codes: int, dim: int, groups: int = 1, layers: int = 1):
        super().__init__()
        if dim % groups:
            raise ValueError(f"a vector of {dim} does not split into {groups} groups")
        self.groups, self.layers, self.dim = groups, layers, dim
        self.codebooks = nn.ModuleList(Codebook(num_codes, dim // groups) for _ in range(layers * groups))

    def rounds(self) -> list[list[Codebook]]:
        """The codebooks of each residual round, one a group."""
        books = list(self.codebooks)
        return [books[i : i + self.groups] for i in range(0, len(books), self.groups)]

    def assign(self, vectors: Tensor) -> Tensor:
        """[..., dim] → codes [..., groups × layers]."""
        codes, rest = [], vectors
        for books in self.rounds():
            ids = [book.assign(part) for book, part in zip(books, rest.chunk(self.groups, -1), strict=True)]
            codes += ids
            rest = rest - torch.cat([book(i) for book, i in zip(books, ids, strict=True)], -1)
        return torch.stack(codes, -1)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes [..., groups × layers] → [..., dim]."""
        total = 0
        for i, books in enumerate(self.rounds()):
            ids = codes[..., i * self.groups : (i + 1) * self.groups].unbind(-1)
            total = total + torch.cat([book(j) for book, j in zip(books, ids, strict=True)], -1)
        return total


class CodecDecoder(nn.Module):
    """Codebooks and the generator that makes a waveform of their codewords.

    The generator is called as generator(latents [b, t, dim], speaker [b, speaker_dim]) → [b, t × hop_length], which is
    `waveform` of `frames_of`: its network, and what follows it. It knows `reach`, how many tokens on the left and on
    the right of a token its samples depend on.
    """

    def __init__(self, quantizer: Quantizer, voice_quantizer: Quantizer, generator: nn.Module, hop_length: int):
        super().__init__()
        self.quantizer = quantizer
        self.voice_quantizer = voice_quantizer
        self.generator = generator
        self.hop_length = hop_length

    @property
    def reach(self) -> tuple[int, int]:
        return self.generator.reach

    def assign(self, latents: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        """What a codec encoder gives → (codes [b, t] or [b, t, codes], speaker tokens [b, num_speaker_tokens])."""
        codes = self.quantizer.assign(latents)
        return codes.squeeze(-1) if codes.shape[-1] == 1 else codes, self.voice_quantizer.assign(speaker)

    def forward(self, codes: Tensor, speaker: Tensor) -> Tensor:
        """codes [b, t] or [b, t, codes], speaker [b, num_speaker_tokens] → waveform [b, t × hop_length] in [-1, 1]."""
        return self.generator(*self.latents(codes, speaker))

    def latents(self, codes: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        """What the generator is called with."""
        if codes.ndim == 2:
            codes = codes.unsqueeze(-1)
        return self.quantizer(codes), self.voice_quantizer(speaker)


class CodecFrames(nn.Module):
    """The networks of a codec decoder, without the generator's `waveform`: what can be compiled."""

    def __init__(self, decoder: CodecDecoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, codes: Tensor, speaker: Tensor) -> Tensor:
        """As `CodecDecoder` → what the generator's `waveform` takes."""
        latents, speaker = self.decoder.latents(codes, speaker)
        return self.decoder.generator.frames_of(latents, speaker)
