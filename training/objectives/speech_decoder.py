"""Stage 3.2: the speech decoder is trained to write the codec tokens of a clause from the embeddings of its text.

Notable points:
- A pool of clauses is made once and kept as small integers: token ids and codec tokens. Which of them a step reads is a
  function of (seed, step).
- Before the first step the duration of each token of the vocabulary is fitted to the pool's speech (`expected_time`),
  and the speaker tokens of the pool become the default of the config.
- Some of the codec tokens that it reads are replaced by random ones, as some that it writes itself will be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from parley.models.codec import encode
from parley.models.speech_decoder import SpeechDecoder, Text
from training.data.transcribed import Transcribed

GROUP = 8  # batches that are sorted by length together
CORRUPTED = 0.07  # share of the codec tokens read that are replaced
FITTED = 512  # clauses that token durations and the default speaker tokens are taken from
VALIDATED = 48  # held-out clauses
GENERATED = 4  # of these, that speech is generated for
IGNORED = -100


@dataclass
class Clause:
    """The token ids of a piece of text, and its speech."""

    ids: list[int]
    codes: np.ndarray  # int16 [t]
    speaker: np.ndarray  # int16 [num_speaker_tokens]


@dataclass
class SpeechDecoderBatch:
    text: Text
    codes: Tensor  # [b, t] as read: some replaced, padded
    targets: Tensor  # [b, t + 1]: the true codes, eos, then IGNORED


class SpeechDecoderObjective:
    """See `training.objectives`.

    Args:
        data: gives clauses spoken by one voice, at the codec's rate.
        tokenizer: the language model's.
        batch_size: clauses a step.
        pool: different clauses in all.
    """

    needs_model = True

    def __init__(
        self,
        stage,
        model,
        data: Transcribed,
        seed: int,
        *,
        tokenizer: Tokenizer,
        batch_size: int = 16,
        pool: int = 4096,
    ):
        self.model, self.data, self.seed, self.tokenizer = model, data, seed, tokenizer
        self.batch_size, self.pool = batch_size, pool
        self.decoder: SpeechDecoder = model.speech_decoder
        self.config = self.decoder.config
        if data.sample_rate != model.config.codec.sample_rate:
            raise ValueError(
                f"the codec speaks at {model.config.codec.sample_rate} Hz, the data are of {data.sample_rate} Hz"
            )
        model.codec_encoder.eval()  # frozen: its running statistics stay as they are
        model.codec_decoder.eval()
        self.table = model.language.get_input_embeddings().weight.detach()
        self.device = self.table.device
        self._clauses: dict[int, Clause] = {}
        self._held_out: list[Clause] = []
        first = [self.clause(i) for i in range(min(FITTED, pool))]
        if self.config.position == "expected_time":
            fitted = fit_durations(first, len(self.decoder.token_frames))
            self.decoder.token_frames.copy_(torch.from_numpy(fitted))
        set_default_speaker(model, first)

    def clause(self, index: int) -> Clause:
        """Clause `index` of the pool."""
        if index not in self._clauses:
            self._clauses[index] = self._encode(*self.data.utterance(index))
        return self._clauses[index]

    def _encode(self, waveform: np.ndarray, text: str) -> Clause:
        spoken = torch.from_numpy(trim(waveform, self.data.sample_rate)).to(self.device).unsqueeze(0)
        codes, speaker = encode(self.model.codec_encoder, self.model.codec_decoder, spoken)
        if codes.ndim != 2:
            raise ValueError("the speech decoder writes one code a frame; a codec with several cannot be used")
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return Clause(ids, codes[0].cpu().numpy().astype(np.int16), speaker[0].cpu().numpy().astype(np.int16))

    def batch(self, step: int) -> SpeechDecoderBatch:
        random = np.random.default_rng((self.seed, step // GROUP))
        chosen = [self.clause(int(i)) for i in random.integers(self.pool, size=GROUP * self.batch_size)]
        chosen.sort(key=lambda clause: len(clause.codes))
        place = random.permutation(GROUP)[step % GROUP]
        random = np.random.default_rng((self.seed, step, 1))
        return self._collate(chosen[place * self.batch_size : (place + 1) * self.batch_size], random)

    def _collate(self, clauses: list[Clause], random: np.random.Generator | None) -> SpeechDecoderBatch:
        longest = max(len(clause.codes) for clause in clauses)
        codes = np.zeros((len(clauses), longest), np.int64)
        targets = np.full((len(clauses), longest + 1), IGNORED, np.int64)
        for i, clause in enumerate(clauses):
            n = len(clause.codes)
            codes[i, :n] = targets[i, :n] = clause.codes
            targets[i, n] = self.config.eos
        if random is not None:
            wrong = random.random(codes.shape) < CORRUPTED
            codes = np.where(wrong, random.integers(self.config.num_codes, size=codes.shape), codes)
        text = Text.of([clause.ids for clause in clauses], self.table)
        return SpeechDecoderBatch(
            text, torch.from_numpy(codes).to(self.device), torch.from_numpy(targets).to(self.device)
        )

    def loss(self, batch: SpeechDecoderBatch) -> tuple[Tensor, dict[str, float]]:
        logits = self.decoder(batch.text, batch.codes)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORED)
        real = batch.targets != IGNORED
        right = (logits.argmax(-1) == batch.targets)[real].float().mean()
        return loss, {"accuracy": right.item()}

    def validate(self) -> dict[str, float]:
        """Loss and accuracy on held-out clauses, and the length of what it generates relative to the true length."""
        if not self._held_out:
            measure = self.data.measures[0]
            self._held_out = [self._encode(*self.data.held_out(measure, i)) for i in range(VALIDATED)]
        sums = np.zeros(3)
        for start in range(0, VALIDATED, self.batch_size):
            batch = self._collate(self._held_out[start : start + self.batch_size], None)
            loss, metrics = self.loss(batch)
            count = int((batch.targets != IGNORED).sum())
            sums += np.array([loss.item(), metrics["accuracy"], 1.0]) * count
        few = self._held_out[:GENERATED]
        generated = sum(len(self.decoder.generate(clause.ids, self.table)) for clause in few)
        true = sum(len(clause.codes) for clause in few)
        return {"loss": sums[0] / sums[2], "accuracy": sums[1] / sums[2], "length": generated / true}


def fit_durations(clauses: list[Clause], vocab_size: int) -> np.ndarray:
    """Codec frames that each token lasts, by ridge regression of the clauses' lengths on their token counts; rare and
    unseen tokens stay near the mean. float32 [vocab_size], nothing under half a frame."""
    counts = np.zeros((len(clauses), vocab_size))
    for count, clause in zip(counts, clauses, strict=True):
        np.add.at(count, clause.ids, 1)
    frames = np.array([len(clause.codes) for clause in clauses], float)
    mean = frames.sum() / counts.sum()
    used = np.flatnonzero(counts.any(0))
    x = counts[:, used]
    departures = np.linalg.solve(x.T @ x + np.eye(len(used)), x.T @ (frames - x.sum(1) * mean))
    fitted = np.full(vocab_size, mean)
    fitted[used] += departures
    return np.maximum(fitted, 0.5).astype(np.float32)


def set_default_speaker(model, clauses: list[Clause]) -> None:
    """Makes the most frequent speaker tokens of these clauses the default of the model's config."""
    speakers = np.stack([clause.speaker for clause in clauses])
    speaker = tuple(int(np.bincount(column).argmax()) for column in speakers.T)
    codec = model.config.codec.model_copy(update={"default_speaker": speaker})
    model.config = model.config.model_copy(update={"codec": codec})


def trim(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Speech without the silence around it, but for 20 ms in front and 60 ms behind."""
    window = sample_rate // 100
    blocks = np.abs(waveform[: len(waveform) // window * window]).reshape(-1, window).max(1)
    loud = np.flatnonzero(blocks > 0.01 * max(float(blocks.max(initial=0)), 1e-3))
    if not len(loud):
        return waveform
    return waveform[max(loud[0] - 2, 0) * window : (loud[-1] + 7) * window]
