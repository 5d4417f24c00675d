"""Stage 2.1a: the speech encoder is trained to transcribe, with a CTC loss.

Notable points:
- The encoder draws its chunk sizes at each step (`random_chunks`), so that one network reads whole utterances and
  streams; validation uses the chunks of the service.
- Utterances of similar length share a batch: lengths are estimated first, and only the batch's own speech is made.
- Mean and variance of the features are measured on the first utterances of the data and stored in the encoder.
- An utterance with more words and letters than frames has no CTC loss: it is counted as `unfit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import jiwer
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from parley.models.speech import SUBSAMPLING, SpeechEncoder, fbank, subsampled
from training.data.augment import augment
from training.data.transcribed import Sortable

GROUP = 16  # batches that are sorted by length together
MEASURED = 96  # utterances that mean and variance are measured on
VALIDATED = 48  # held-out utterances of each measure
RAMP = 3000  # steps until augmentation has its full strength: without it CTC begins to write far sooner


@dataclass
class CtcBatch:
    features: Tensor  # [b, t, mel]
    lengths: Tensor  # [b] mel frames
    targets: Tensor  # [sum of target_lengths] ids of words and letters
    target_lengths: Tensor  # [b]
    unfit: int  # utterances too short for their text


class CtcObjective:
    """See `training.objectives`.

    Args:
        data: gives speech at the encoder's rate with its text.
        batch_size: utterances a step.
    """

    def __init__(self, stage, model, data: Sortable, seed: int, *, batch_size: int = 16):
        self.encoder: SpeechEncoder = model.speech_encoder
        self.head = model.ctc_head
        self.config = self.encoder.config
        if data.sample_rate != self.config.sample_rate:
            raise ValueError(f"the encoder reads {self.config.sample_rate} Hz, the data are of {data.sample_rate} Hz")
        self.data, self.seed, self.batch_size = data, seed, batch_size
        self.device = self.encoder.mean.device
        self.unfit = 0  # utterances so far that were too short for their text
        self._orders: dict[int, list[int]] = {}  # of the latest group
        self._held_out: dict[str, list[tuple[Tensor, str]]] = {}
        if is_fresh(self.encoder):
            measure(self.encoder, data)
        self.fill = self.encoder.mean.cpu().numpy()

    def batch(self, step: int) -> CtcBatch:
        rng = np.random.default_rng((self.seed, step, 1))
        features, targets = [], []
        for index in self._indices(step):
            waveform, text = self.data.utterance(index)
            ids = self.head.vocabulary.encode(text)
            mel = fbank(waveform, self.config).numpy()
            changed = augment(mel, self.fill, rng, fewest=mel_frames_for(ids), strength=min(1.0, step / RAMP))
            features.append(torch.from_numpy(changed))
            targets.append(torch.tensor(ids))
        return CtcBatch(
            torch.nn.utils.rnn.pad_sequence(features, batch_first=True),
            torch.tensor([len(f) for f in features]),
            torch.cat(targets),
            torch.tensor([len(t) for t in targets]),
            sum(len(f) < mel_frames_for(t.tolist()) for f, t in zip(features, targets, strict=True)),
        )

    def _indices(self, step: int) -> list[int]:
        """The utterances of a step. Within a group they are sorted by length, and the batches come in any order."""
        group, place = divmod(step, GROUP)
        if group not in self._orders:
            first = group * GROUP * self.batch_size
            self._orders = {group: sorted(range(first, first + GROUP * self.batch_size), key=self.data.seconds)}
        slot = int(np.random.default_rng((self.seed, group)).permutation(GROUP)[place])
        return self._orders[group][slot * self.batch_size : (slot + 1) * self.batch_size]

    def loss(self, batch: CtcBatch) -> tuple[Tensor, dict[str, float]]:
        frames, lengths = self.encoder(batch.features, batch.lengths)
        log_probs = self.head(frames).float().transpose(0, 1)
        losses = F.ctc_loss(
            log_probs, batch.targets, lengths, batch.target_lengths, reduction="none", zero_infinity=True
        )
        self.unfit += batch.unfit
        return (losses / batch.target_lengths).mean(), {"unfit": float(self.unfit)}

    def validate(self) -> dict[str, float]:
        """Word error rate of each held-out set in percent, with the chunks of the service."""
        found = {}
        normalise = self.head.vocabulary.normalise
        for name in self.data.measures:
            if name not in self._held_out:
                pairs = (self.data.held_out(name, i) for i in range(VALIDATED))
                self._held_out[name] = [(fbank(w, self.config), normalise(t)) for w, t in pairs]
            transcripts = [self.transcribe(features) for features, _ in self._held_out[name]]
            found[f"wer_{name}"] = 100 * jiwer.wer([text for _, text in self._held_out[name]], transcripts)
        return found

    def transcribe(self, features: Tensor) -> str:
        """Mel frames [t, mel] → the transcript."""
        lengths = torch.tensor([len(features)], device=self.device)
        frames, _ = self.encoder(features[None].to(self.device), lengths)
        return self.head.transcribe(frames[0])


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
