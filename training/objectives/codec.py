"""Stage 3.1: a codec is trained to encode speech as tokens and to decode them.

Notable points:
- Short random segments: a codec needs no long context. The speaker tokens come from another segment of the same
  utterance, so that they hold who speaks and not what is said.
- Loss: log-mel distance at several resolutions, commitment to the codebooks, and, once speech is intelligible, the
  adversarial and feature matching losses of a discriminator.
- The discriminator and the state of the codebooks are not part of a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parley.models.codec.istft import mel_filters
from training.data.transcribed import Transcribed
from training.objectives.codebooks import QuantizerTrainer
from training.objectives.discriminator import Discriminator

SEGMENT_TOKENS = 32  # 0.8 s
REFERENCE_TOKENS = 48  # 1.2 s, for the speaker tokens
START_AFTER = 12_288  # latents seen before the k-means start of the codes
SPEAKER_START_AFTER = 1_024  # utterances seen before the k-means start of the speaker tokens
DISCRIMINATED = 3  # one in so many utterances of a batch: the discriminator costs more than all the rest
RESOLUTIONS = ((2048, 100), (1024, 80), (512, 40), (256, 20))  # FFT size, mel bins
MEL_WEIGHT, COMMITMENT_WEIGHT, ADVERSARIAL_WEIGHT, MATCHING_WEIGHT = 1.0, 0.25, 0.05, 0.1


@dataclass
class CodecBatch:
    step: int
    segment: Tensor  # [b, SEGMENT_TOKENS × hop]
    reference: Tensor  # [b, REFERENCE_TOKENS × hop], of the same utterances


class MelDistance(nn.Module):
    """Mean absolute distance of log-mel spectrograms over several resolutions."""

    def __init__(self, sample_rate: int):
        super().__init__()
        for n_fft, bins in RESOLUTIONS:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)
            self.register_buffer(f"filters_{n_fft}", mel_filters(n_fft, sample_rate, bins), persistent=False)

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        total = 0
        for n_fft, _ in RESOLUTIONS:
            a, b = self.log_mel(generated, n_fft), self.log_mel(real, n_fft)
            total = total + F.l1_loss(a, b)
        return total / len(RESOLUTIONS)

    def log_mel(self, waveform: Tensor, n_fft: int) -> Tensor:
        """[b, samples] → [b, frames, bins]."""
        window, filters = getattr(self, f"window_{n_fft}"), getattr(self, f"filters_{n_fft}")
        spectrum = torch.stft(waveform.float(), n_fft, n_fft // 4, window=window, return_complex=True)
        # Not abs(): its gradient is undefined where a bin is exactly 0, as in digital silence.
        power = spectrum.real.square() + spectrum.imag.square()
        return ((power + 1e-8).sqrt().transpose(1, 2) @ filters).clamp(min=1e-3).log()


class CodecAdversary(nn.Module):
    """What is trained with the codec and not kept: the discriminator, and the state of the codebooks."""

    def __init__(self, decoder):
        super().__init__()
        self.discriminator = Discriminator()
        self.codes = QuantizerTrainer(decoder.quantizer, START_AFTER)
        self.speakers = QuantizerTrainer(decoder.voice_quantizer, SPEAKER_START_AFTER)


class CodecObjective:
    """See `training.objectives`.

    Args:
        data: gives utterances at the codec's rate.
        adversary_after: the first step with a discriminator.
        batch_size: utterances a step.
    """

    def __init__(
        self, stage, model, data: Transcribed, seed: int, *, batch_size: int = 16, adversary_after: int = 1500
    ):
        self.encoder, self.decoder = model.codec_encoder, model.codec_decoder
        self.data, self.seed, self.batch_size, self.adversary_after = data, seed, batch_size, adversary_after
        self.hop = self.decoder.hop_length
        device = next(self.encoder.parameters()).device
        self.distance = MelDistance(data.sample_rate).to(device)
        self.adversary = CodecAdversary(self.decoder).to(device)
        self._decoded: tuple[CodecBatch, Tensor, Tensor] | None = None  # by `adversary_loss`, for `loss`
        self.device = device

    def batch(self, step: int) -> CodecBatch:
        random = np.random.default_rng((self.seed, step))
        segments, references = [], []
        for i in range(self.batch_size):
            waveform = self.data.utterance(step * self.batch_size + i)[0]
            segments.append(cut(waveform, SEGMENT_TOKENS * self.hop, random))
            references.append(cut(waveform, REFERENCE_TOKENS * self.hop, random))
        segment, reference = torch.from_numpy(np.stack(segments)), torch.from_numpy(np.stack(references))
        return CodecBatch(step, segment, reference)

    def loss(self, batch: CodecBatch) -> tuple[Tensor, dict[str, float]]:
        decoded, commitment = self._decode(batch)
        self._decoded = None
        mel = self.distance(decoded, batch.segment)
        loss = MEL_WEIGHT * mel + COMMITMENT_WEIGHT * commitment
        metrics = {"mel": mel.item(), "commitment": commitment.item()}
        if self._has_discriminator(batch):
            adversarial, matching = self._generator_loss(batch, decoded)
            loss = loss + ADVERSARIAL_WEIGHT * adversarial + MATCHING_WEIGHT * matching
            metrics |= {"adversarial": adversarial.item(), "matching": matching.item()}
        return loss, metrics

    def adversary_loss(self, batch: CodecBatch) -> Tensor | None:
        """The loss of the discriminator; None in the steps before `adversary_after`."""
        if not self._has_discriminator(batch):
            return None
        decoded, commitment = self._decode(batch)
        self._decoded = (batch, decoded, commitment)
        real, generated = discriminator_inputs(batch.segment), discriminator_inputs(decoded.detach())
        return self.adversary.discriminator.loss(real, generated)

    def _has_discriminator(self, batch: CodecBatch) -> bool:
        return batch.step >= self.adversary_after

    def _generator_loss(self, batch: CodecBatch, decoded: Tensor) -> tuple[Tensor, Tensor]:
        discriminator = self.adversary.discriminator
        discriminator.requires_grad_(False)
        losses = discriminator.generator_loss(discriminator_inputs(batch.segment), discriminator_inputs(decoded))
        discriminator.requires_grad_(True)
        return losses

    def _decode(self, batch: CodecBatch) -> tuple[Tensor, Tensor]:
        """(decoded waveform [b, samples], commitment loss)."""
        if self._decoded is not None and self._decoded[0] is batch:
            return self._decoded[1:]
        latents, _ = self.encoder(batch.segment)
        latents, commitment = self.adversary.codes(latents)
        speaker, speaker_commitment = self.adversary.speakers(self.encoder.speaker(batch.reference))
        return self.decoder.generator(latents, speaker), commitment + speaker_commitment

    def validate(self) -> dict[str, float]:
        """Mel distance of held-out utterances, encoded and decoded, and the perplexity of their codes."""
        if not (self.adversary.codes.ready and self.adversary.speakers.ready):
            return {}
        total, used, count = 0.0, [], 16
        for i in range(count):
            waveform = torch.from_numpy(self.data.held_out(self.data.measures[0], i)[0]).to(self.device).unsqueeze(0)
            waveform = waveform[:, : waveform.shape[1] // self.hop * self.hop]
            codes, speaker = self.decoder.assign(*self.encoder(waveform))
            total += self.distance(self.decoder(codes, speaker), waveform).item() / count
            used.append(codes.flatten())
        share = torch.bincount(torch.cat(used)).float() / sum(map(len, used))
        perplexity = torch.exp(-(share * share.clamp(min=1e-9).log()).sum()).item()
        return {"mel": total, "perplexity": perplexity}


def discriminator_inputs(waveforms: Tensor) -> Tensor:
    """The waveforms of a batch that the discriminator reads."""
    return waveforms[: max(len(waveforms) // DISCRIMINATED, 1)]


def cut(waveform: np.ndarray, samples: int, random: np.random.Generator) -> np.ndarray:
    """A random piece of that many samples, padded with zeros if the waveform is shorter."""
    if len(waveform) <= samples:
        return np.pad(waveform, (0, samples - len(waveform)))
    start = int(random.integers(len(waveform) - samples))
    return waveform[start : start + samples]
