"""Stage 2.1a: the speech encoder is trained to transcribe, with a CTC loss.

Notable points:
- The encoder draws its chunk sizes at each step (`random_chunks`), so that one network reads whole utterances and
  streams; validation uses the chunks of the service.
- Utterances of similar length share a step: lengths are estimated first, and only the step's own speech is made.
- Mean and variance of the features are measured on the first utterances of the data and stored in the encoder.
- An utterance with more words and letters than frames has no CTC loss: it is counted as `unfit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import jiwer
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from parley.models.filter_bank import fbank
from parley.models.speech import MIN_MEL_FRAMES, SUBSAMPLING, SpeechEncoder, random_chunks, subsampled
from parley.text.ctc import scored_words
from training.data.augment import augment
from training.data.packing import split_padded
from training.data.transcribed import Sortable
from training.objectives.objective import Objective, Sums, Term, share

GROUP = 16  # steps whose utterances are sorted by length together
MEASURED = 96  # utterances that mean and variance are measured on
VALIDATED = 48  # held-out utterances of each measure
RAMP = 3000  # steps until augmentation has its full strength: without it CTC begins to write far sooner


@dataclass
class CtcBatch:
    features: Tensor  # [b, t, mel]
    lengths: Tensor  # [b] mel frames
    targets: Tensor  # [sum of target_lengths] ids of words and letters
    target_lengths: Tensor  # [b]; 0: of a blank utterance
    fits: Tensor  # bool [b]: long enough for its text
    texts: list[str]  # normalised; of held-out utterances
    measures: list[str]  # held-out sets that these belong to


class CtcObjective(Objective):
    """See `training.objectives.objective`.

    Args:
        data: gives speech at the encoder's rate with its text.
        batch_size: utterances a step.
        frames: mel frames of a pass, at most, padding included.
    """

    terms = {"ctc": Term("utterances"), "unfit": Term("utterances", 0.0)}  # noqa: RUF012 (never changed)

    def __init__(self, model, data: Sortable, seed: int, *, batch_size: int = 16, frames: int = 48_000) -> None:
        super().__init__(model, seed, batch_size)
        self.config, self.data, self.frames = self.encoder.config, data, frames
        if data.sample_rate != self.config.sample_rate:
            raise ValueError(f"the encoder reads {self.config.sample_rate} Hz, the data are of {data.sample_rate} Hz")
        self._orders: dict[int, list[int]] = {}  # of the latest group
        if is_fresh(self.encoder):
            measure(self.encoder, data)
        self.fill = self.encoder.mean.cpu().numpy()

    @property
    def encoder(self) -> SpeechEncoder:
        return self.model.speech_encoder

    @property
    def head(self):
        return self.model.ctc_head

    def numbers(self, step: int) -> list[int]:
        """Within a group of steps utterances are sorted by length, and the steps come in any order."""
        group, place = divmod(step, GROUP)
        if group not in self._orders:
            first = group * GROUP * self.batch_size
            self._orders = {group: sorted(range(first, first + GROUP * self.batch_size), key=self.data.seconds)}
        slot = int(np.random.default_rng((self.seed, group)).permutation(GROUP)[place])
        return self._orders[group][slot * self.batch_size : (slot + 1) * self.batch_size]

    def passes(self, numbers: Sequence[int], step: int) -> list[CtcBatch]:
        made = [self._utterance(number, step) for number in numbers]
        split = split_padded([len(features) for features, _ in made], self.frames)
        return [_batch([made[i] for i in chosen]) for chosen in split]

    def _utterance(self, number: int, step: int) -> tuple[Tensor, list[int]]:
        waveform, text = self.data.utterance(number)
        ids = self.head.vocabulary.encode(text)
        random = np.random.default_rng((self.seed, number, 1))
        strength = min(1.0, step / RAMP)
        mel = fbank(waveform, self.config).numpy()
        changed = augment(mel, self.fill, random, fewest=mel_frames_for(ids), strength=strength)
        return torch.from_numpy(changed), ids

    def blank(self) -> CtcBatch:
        return _batch([(torch.zeros(MIN_MEL_FRAMES, self.config.num_mel_bins), [])])

    def counts(self, batch: CtcBatch) -> dict[str, float]:
        frames = float(batch.lengths.sum()) if batch.target_lengths.any() else 0.0
        return {"utterances": float((batch.target_lengths > 0).sum()), "positions": frames}

    def forward(self, batch: CtcBatch, step: int = 0) -> Sums:
        if not self.training:
            return self._measures(batch)
        generator = torch.Generator().manual_seed(hash((self.seed, step)))
        chunks = random_chunks(generator) if self.config.dynamic_chunks else (None, None)
        frames, lengths = self.encoder(batch.features, batch.lengths, *chunks)
        log_probs = self.head(frames).float().transpose(0, 1)
        losses = F.ctc_loss(
            log_probs, batch.targets, lengths, batch.target_lengths, reduction="none", zero_infinity=True
        )
        losses = losses.where(batch.target_lengths > 0, 0.0 * losses) / batch.target_lengths.clamp(min=1)
        return {"ctc": losses.sum(), "unfit": (~batch.fits).sum().to(losses)}

    # Held-out data

    def probe(self, rank: int, world_size: int) -> list[CtcBatch]:
        normalise, held_out = self.head.vocabulary.normalise, []
        for name in self.data.measures:
            for number in share(range(VALIDATED), rank, world_size):
                waveform, text = self.data.held_out(name, number)
                batch = _batch([(fbank(waveform, self.config), [])])
                batch.texts, batch.measures = [normalise(text)], [name]
                held_out.append(batch)
        return held_out

    def _measures(self, batch: CtcBatch) -> Sums:
        """For each held-out set: [wrong words, words]."""
        table = torch.zeros(len(self.data.measures), 2, device=self.device)
        frames, lengths = self.encoder(batch.features, batch.lengths)
        for one, length, text, name in zip(frames, lengths.tolist(), batch.texts, batch.measures, strict=False):
            found = jiwer.process_words(scored_words(text), scored_words(self.head.transcribe(one[:length])))
            wrong = found.substitutions + found.deletions + found.insertions
            table[self.data.measures.index(name)] += torch.tensor(
                [wrong, found.hits + found.substitutions + found.deletions]
            )
        return {"words": table}

    def summary(self, sums: Sums) -> dict[str, float]:
        """Word error rate of each held-out set in percent, with the chunks of the service; of Chinese and Japanese the
        rate of characters (`scored_words`)."""
        rows = zip(self.data.measures, sums["words"].tolist(), strict=True)
        return {f"wer_{name}": 100 * wrong / max(1, words) for name, (wrong, words) in rows}


def _batch(made: Sequence[tuple[Tensor, list[int]]]) -> CtcBatch:
    features, ids = zip(*made, strict=True)
    fits = [not one or len(mel) >= mel_frames_for(one) for mel, one in made]
    return CtcBatch(
        torch.nn.utils.rnn.pad_sequence(features, batch_first=True),
        torch.tensor([len(mel) for mel in features]),
        torch.tensor([id_ for one in ids for id_ in one], dtype=torch.long),
        torch.tensor([len(one) for one in ids]),
        torch.tensor(fits),
        texts=[],
        measures=[],
    )


def mel_frames_for(ids: list[int]) -> int:
    """Mel frames that CTC needs for `ids`: an encoder frame each, and one between two equal ones."""
    frames = len(ids) + sum(a == b for a, b in pairwise(ids))
    needed = SUBSAMPLING * frames + SUBSAMPLING - 1
    assert subsampled(needed) >= frames
    return needed


def is_fresh(encoder: SpeechEncoder) -> bool:
    """Whether mean and variance have never been measured."""
    return bool((encoder.mean == 0).all() and (encoder.istd == 1).all())


def measure(encoder: SpeechEncoder, data: Sortable) -> None:
    """Stores mean and inverse standard deviation of the first utterances' features in the encoder."""
    frames = torch.cat([fbank(data.utterance(i)[0], encoder.config) for i in range(MEASURED)]).double()
    encoder.mean.copy_(frames.mean(0))
    encoder.istd.copy_(1 / frames.std(0).clamp(min=1e-3))
