"""Stage 3.1: a codec is trained to encode speech as tokens and to decode them.

Notable points:
- Short random segments: a codec needs no long context. The speaker tokens come from another segment of the same
  utterance, so that they hold who speaks and not what is said.
- Loss: log-mel distance at several resolutions, commitment to the codebooks, and, once speech is intelligible, the
  adversarial and feature matching losses of a discriminator. It is trained in the same step, by its own loss.
- The discriminator and the state of the codebooks are not part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from parley.models.codec.istft import mel_filters
from training.data.transcribed import Transcribed
from training.objectives.codebooks import QuantizerTrainer
from training.objectives.discriminator import Discriminator, discriminator_loss, generator_loss
from training.objectives.objective import Objective, Sums, Term, share

SEGMENT_TOKENS = 32  # 0.8 s
REFERENCE_TOKENS = 48  # 1.2 s, for the speaker tokens
START_AFTER = 12_288  # latents seen before the k-means start of the codes
SPEAKER_START_AFTER = 1_024  # utterances seen before the k-means start of the speaker tokens
DISCRIMINATED = 3  # one in so many utterances of a batch: the discriminator costs more than all the rest
RESOLUTIONS = ((2048, 100), (1024, 80), (512, 40), (256, 20))  # FFT size, mel bins
VALIDATED = 16  # held-out utterances


@dataclass
class CodecBatch:
    segment: Tensor  # [b, SEGMENT_TOKENS × hop]
    reference: Tensor  # [b, REFERENCE_TOKENS × hop], of the same utterances
    numbers: Tensor  # int64 [b], of the utterances; -1: a blank one


class MelDistance(nn.Module):
    """Mean absolute distance of log-mel spectrograms over several resolutions: waveforms [b, samples] → [b]."""

    def __init__(self, sample_rate: int):
        super().__init__()
        for n_fft, bins in RESOLUTIONS:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)
            self.register_buffer(f"filters_{n_fft}", mel_filters(n_fft, sample_rate, bins), persistent=False)

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        total = 0
        for n_fft, _ in RESOLUTIONS:
            a, b = self.log_mel(generated, n_fft), self.log_mel(real, n_fft)
            total = total + (a - b).abs().flatten(1).mean(1)
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


class CodecObjective(Objective):
    """See `training.objectives.objective`.

    Args:
        data: gives utterances at the codec's rate.
        adversary_after: the first step with a discriminator.
        batch_size: utterances a step.
        tokens: codec tokens of a pass, at most.
    """

    terms = {  # noqa: RUF012 (never changed)
        "mel": Term("utterances"),
        "commitment": Term("utterances", 0.25),
        "adversarial": Term("discriminated", 0.05),
        "matching": Term("discriminated", 0.1),
        "discriminator": Term("discriminated"),
    }

    def __init__(
        self, model, data: Transcribed, seed: int, *, batch_size: int = 16, adversary_after: int = 1500,
        tokens: int = 32_768,
    ) -> None:  # fmt: skip
        super().__init__(model, seed, batch_size)
        self.data, self.adversary_after = data, adversary_after
        self.hop = model.codec_decoder.hop_length
        self.utterances_a_pass = max(1, tokens // (SEGMENT_TOKENS + REFERENCE_TOKENS))
        self.distance = MelDistance(data.sample_rate)
        self.adversary = CodecAdversary(model.codec_decoder)

    def passes(self, numbers: Sequence[int], step: int) -> list[CodecBatch]:
        size = self.utterances_a_pass
        return [self._batch(numbers[start : start + size]) for start in range(0, len(numbers), size)]

    def _batch(self, numbers: Sequence[int]) -> CodecBatch:
        segments, references = [], []
        for number in numbers:
            random = np.random.default_rng((self.seed, number))
            waveform = self.data.utterance(number)[0]
            segments.append(cut(waveform, SEGMENT_TOKENS * self.hop, random))
            references.append(cut(waveform, REFERENCE_TOKENS * self.hop, random))
        return CodecBatch(
            torch.from_numpy(np.stack(segments)), torch.from_numpy(np.stack(references)), torch.tensor(list(numbers))
        )

    def blank(self) -> CodecBatch:
        segment, reference = (torch.zeros(1, size * self.hop) for size in (SEGMENT_TOKENS, REFERENCE_TOKENS))
        return CodecBatch(segment, reference, torch.tensor([-1]))

    def counts(self, batch: CodecBatch) -> dict[str, float]:
        learned, chosen = batch.numbers >= 0, discriminated(batch.numbers)
        utterances = float(learned.sum())
        return {
            "utterances": utterances,
            "discriminated": float(chosen.sum()),
            "positions": utterances * SEGMENT_TOKENS,
        }

    def forward(self, batch: CodecBatch, step: int = 0) -> Sums:
        if not self.training:
            return self._measures(batch)
        learned = batch.numbers >= 0
        decoded, commitment = self._decode(batch, learned)
        weight = learned.to(decoded)
        sums = {
            "mel": (weight * self.distance(decoded, batch.segment)).sum(),
            "commitment": (weight * commitment).sum(),
        }
        if step >= self.adversary_after:
            sums |= self._adversarial(batch, decoded)
        return sums

    def normalise(self, batch: CodecBatch) -> None:
        self.model.codec_encoder.speaker(batch.reference)

    def _decode(self, batch: CodecBatch, learned: Tensor) -> tuple[Tensor, Tensor]:
        """(decoded waveform [b, samples], commitment loss [b])."""
        encoder, decoder = self.model.codec_encoder, self.model.codec_decoder
        latents, _ = encoder(batch.segment)
        latents, commitment = self.adversary.codes(latents, learned)
        speaker, speaker_commitment = self.adversary.speakers(encoder.speaker(batch.reference), learned)
        return decoder.generator(latents, speaker), commitment + speaker_commitment

    def _adversarial(self, batch: CodecBatch, decoded: Tensor) -> Sums:
        """The losses of the codec against the discriminator, and the discriminator's own."""
        chosen, weight = discriminated(batch.numbers), 1.0
        if not chosen.any():  # zero times one: every process has the same gradients to share
            chosen, weight = torch.arange(len(chosen), device=chosen.device) == 0, 0.0
        real, generated, discriminator = batch.segment[chosen], decoded[chosen], self.adversary.discriminator
        real_judged = discriminator(real)
        adversarial, matching = generator_loss(real_judged, discriminator.frozen(generated))
        loss = discriminator_loss(real_judged, discriminator(generated.detach()))
        named = {"adversarial": adversarial, "matching": matching, "discriminator": loss}
        return {name: (weight * each).sum() for name, each in named.items()}

    def finish_step(self) -> None:
        self.adversary.codes.finish_step()
        self.adversary.speakers.finish_step()

    # Held-out data

    def probe(self, rank: int, world_size: int) -> list[CodecBatch]:
        return [self._held_out(number) for number in share(range(VALIDATED), rank, world_size)]

    def _held_out(self, number: int) -> CodecBatch:
        waveform = torch.from_numpy(self.data.held_out(self.data.measures[0], number)[0])
        waveform = waveform[None, : len(waveform) // self.hop * self.hop]
        return CodecBatch(waveform, waveform, torch.tensor([number]))

    def _measures(self, batch: CodecBatch) -> Sums:
        """The mel distance of an utterance, encoded and decoded; how often each code was used; utterances."""
        encoder, decoder = self.model.codec_encoder, self.model.codec_decoder
        used = torch.zeros(max(len(book.weight) for book in decoder.quantizer.codebooks), device=self.device)
        ready = self.adversary.codes.ready and self.adversary.speakers.ready
        if not ready or bool((batch.numbers < 0).any()):
            return {"mel": used.new_zeros(()), "used": used, "utterances": used.new_zeros(())}
        codes, speaker = decoder.assign(*encoder(batch.segment))
        distance = self.distance(decoder(codes, speaker), batch.segment).sum()
        used += torch.bincount(codes.flatten(), minlength=len(used))
        return {"mel": distance, "used": used, "utterances": used.new_ones(())}

    def summary(self, sums: Sums) -> dict[str, float]:
        """Mel distance of held-out utterances, and the perplexity of their codes; nothing before there are codes."""
        if not sums["utterances"]:
            return {}
        share = sums["used"].double() / sums["used"].sum()
        perplexity = torch.exp(-(share * share.clamp(min=1e-9).log()).sum())
        return {"mel": float(sums["mel"] / sums["utterances"]), "perplexity": float(perplexity)}


def discriminated(numbers: Tensor) -> Tensor:
    """bool [b]: the utterances that the discriminator reads."""
    return (numbers >= 0) & (numbers % DISCRIMINATED == 0)


def cut(waveform: np.ndarray, samples: int, random: np.random.Generator) -> np.ndarray:
    """A random piece of that many samples, padded with zeros if the waveform is shorter."""
    if len(waveform) <= samples:
        return np.pad(waveform, (0, samples - len(waveform)))
    start = int(random.integers(len(waveform) - samples))
    return waveform[start : start + samples]
