"""Stage 3.2: the speech decoder is trained to write the codec tokens of a clause from the embeddings of its text.

Notable points:
- A pool of clauses is made once and kept as small integers: token ids and codec tokens. Which of them a step reads is a
  function of (seed, step).
- Before the first step the duration of each token of the vocabulary is fitted to the pool's speech (`expected_time`),
  and the speaker tokens of the pool become the default of the config.
- Some of the codec tokens that it reads are replaced by random ones, as some that it writes itself will be wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from parley.models.codec import encode
from parley.models.speech_decoder import Text
from training.data.packing import IGNORED, split_padded
from training.data.transcribed import Transcribed
from training.objectives.objective import Objective, Sums, Term, share

GROUP = 8  # steps that are sorted by length together
CORRUPTED = 0.07  # share of the codec tokens read that are replaced
FITTED = 512  # clauses that token durations and the default speaker tokens are taken from
VALIDATED = 48  # held-out clauses
GENERATED = 4  # of these, that speech is generated for
KEPT = 16_384  # encoded clauses in memory: about 30 MB


@dataclass
class Clause:
    """The token ids of a piece of text, and its speech."""

    ids: list[int]
    codes: np.ndarray  # int16 [t]
    speaker: np.ndarray  # int16 [num_speaker_tokens]


@dataclass
class SpeechDecoderBatch:
    ids: list[list[int]]  # token ids of each text
    codes: Tensor  # [b, t] as read: some replaced, padded
    targets: Tensor  # [b, t + 1]: the true codes, eos, then IGNORED
    generated: bool = False  # whether a validation generates the speech of these texts


class SpeechDecoderObjective(Objective):
    """See `training.objectives.objective`.

    Args:
        data: gives clauses at the codec's rate.
        tokenizer: the language model's.
        batch_size: clauses a step.
        pool: different clauses in all.
        drawn: whether a step draws its clauses from the pool at random, all of one voice; else each sample number is a
            clause, and the data tell its seconds and its speaker (`Spoken`).
        tokens: codec tokens of a pass, at most, padding included.
    """

    needs_model = True
    terms = {"next_code": Term("codes"), "accuracy": Term("codes", 0.0)}  # noqa: RUF012 (never changed)

    def __init__(
        self, model, data: Transcribed, seed: int, *, tokenizer: Tokenizer, batch_size: int = 16,
        pool: int = 4096, drawn: bool = True, tokens: int = 32_768,
    ) -> None:  # fmt: skip
        super().__init__(model, seed, batch_size)
        self.data, self.tokenizer, self.pool, self.drawn, self.tokens = data, tokenizer, pool, drawn, tokens
        self.config = model.speech_decoder.config
        if data.sample_rate != model.config.codec.sample_rate:
            raise ValueError(
                f"the codec speaks at {model.config.codec.sample_rate} Hz, the data are of {data.sample_rate} Hz"
            )
        model.codec_encoder.eval()  # frozen: its running statistics stay as they are
        model.codec_decoder.eval()
        self._clauses: dict[int, Clause] = {}
        first = [self.clause(i) for i in range(min(FITTED, pool))]
        if self.config.position == "expected_time":
            decoder = model.speech_decoder
            fitted = fit_durations(first, len(decoder.token_frames))
            decoder.token_frames.copy_(torch.from_numpy(fitted))
        set_default_speaker(model, first if drawn else self._of_main_speaker(first))

    @property
    def table(self) -> Tensor:
        """The language model's input embeddings [vocab, language_size]; frozen."""
        return self.model.language.get_input_embeddings().weight.detach()

    def clause(self, index: int) -> Clause:
        """Clause `index` of the pool."""
        if index not in self._clauses:
            if len(self._clauses) >= KEPT:
                self._clauses.pop(next(iter(self._clauses)))  # the oldest one
            self._clauses[index] = self._encode(*self.data.utterance(index))
        return self._clauses[index]

    def _of_main_speaker(self, first: list[Clause]) -> list[Clause]:
        """Those of the first clauses that the most frequent of their speakers says: tokens of several are nobody's."""
        speakers = [self.data.speaker(index) for index in range(len(first))]
        main = Counter(speakers).most_common(1)[0][0]
        return [clause for clause, speaker in zip(first, speakers, strict=True) if speaker == main]

    @torch.no_grad()
    def _encode(self, waveform: np.ndarray, text: str) -> Clause:
        weight = next(self.model.codec_encoder.parameters())
        spoken = torch.from_numpy(trim(waveform, self.data.sample_rate)).to(weight).unsqueeze(0)
        codes, speaker = encode(self.model.codec_encoder, self.model.codec_decoder, spoken)
        if codes.ndim != 2:
            raise ValueError("the speech decoder writes one code a frame; a codec with several cannot be used")
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return Clause(ids, codes[0].cpu().numpy().astype(np.int16), speaker[0].cpu().numpy().astype(np.int16))

    def numbers(self, step: int) -> list[int]:
        """Within a group of steps clauses are sorted by length, and the steps come in any order."""
        group, size = step // GROUP, GROUP * self.batch_size
        random = np.random.default_rng((self.seed, group))
        if self.drawn:
            chosen = random.integers(self.pool, size=size).tolist()
            chosen.sort(key=lambda number: len(self.clause(number).codes))
        else:
            chosen = sorted(range(group * size, (group + 1) * size), key=self.data.seconds)
        place = random.permutation(GROUP)[step % GROUP]
        return chosen[place * self.batch_size : (place + 1) * self.batch_size]

    def passes(self, numbers: Sequence[int], step: int) -> list[SpeechDecoderBatch]:
        clauses = [(number, self.clause(number)) for number in numbers]
        split = split_padded([len(clause.codes) + 1 for _, clause in clauses], self.tokens)
        return [self._collate([clauses[i] for i in chosen], step) for chosen in split]

    def _collate(self, clauses: Sequence[tuple[int, Clause]], step: int | None) -> SpeechDecoderBatch:
        """`step`: None for held-out clauses, whose codes are read as they are."""
        longest = max(len(clause.codes) for _, clause in clauses)
        codes = np.zeros((len(clauses), longest), np.int64)
        targets = np.full((len(clauses), longest + 1), IGNORED, np.int64)
        for i, (number, clause) in enumerate(clauses):
            n = len(clause.codes)
            targets[i, :n], targets[i, n] = clause.codes, self.config.eos
            codes[i, :n] = clause.codes if step is None else self._corrupted(clause.codes, number, step)
        return SpeechDecoderBatch(
            [clause.ids for _, clause in clauses], torch.from_numpy(codes), torch.from_numpy(targets)
        )

    def _corrupted(self, codes: np.ndarray, number: int, step: int) -> np.ndarray:
        random = np.random.default_rng((self.seed, step, number))
        wrong = random.random(len(codes)) < CORRUPTED
        return np.where(wrong, random.integers(self.config.num_codes, size=len(codes)), codes)

    def blank(self) -> SpeechDecoderBatch:
        return SpeechDecoderBatch([[0]], torch.zeros(1, 1, dtype=torch.long), torch.full((1, 2), IGNORED))

    def counts(self, batch: SpeechDecoderBatch) -> dict[str, float]:
        codes = float((batch.targets != IGNORED).sum())
        return {"codes": codes, "positions": codes}

    def forward(self, batch: SpeechDecoderBatch, step: int = 0) -> Sums:
        decoder = self.model.speech_decoder
        text = Text.of(batch.ids, self.table)
        text.embeddings = text.embeddings.to(decoder.head.weight.dtype)
        logits = decoder(text, batch.codes)
        real = batch.targets != IGNORED
        loss = F.cross_entropy(
            logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        sums = {"next_code": loss, "accuracy": ((logits.argmax(-1) == batch.targets) & real).sum().to(loss)}
        return sums if self.training else sums | {"codes": real.sum().to(loss)} | self._lengths(batch)

    # Held-out data

    def probe(self, rank: int, world_size: int) -> list[SpeechDecoderBatch]:
        """The clauses to generate are the same in every process, because each must make the same calls."""
        measure = self.data.measures[0]
        held_out = [(i, self._encode(*self.data.held_out(measure, i))) for i in range(VALIDATED)]
        few = self._collate(held_out[:GENERATED], None)
        few.generated, few.targets = True, torch.full_like(few.targets, IGNORED)
        mine = share(held_out, rank, world_size)
        starts = range(0, len(mine), self.batch_size)
        return [few] + [self._collate(mine[start : start + self.batch_size], None) for start in starts]

    def _lengths(self, batch: SpeechDecoderBatch) -> Sums:
        """[codec tokens generated, true ones] of the texts that are generated."""
        lengths = torch.zeros(2, device=batch.codes.device)
        if batch.generated:
            decoder = self.model.speech_decoder
            table = self.table.to(decoder.head.weight.dtype)
            lengths[0] = sum(len(decoder.generate(ids, table)) for ids in batch.ids)
            lengths[1] = self._true_length
        return {"lengths": lengths}

    @cached_property
    def _true_length(self) -> int:
        measure = self.data.measures[0]
        return sum(len(self._encode(*self.data.held_out(measure, i)).codes) for i in range(GENERATED))

    def summary(self, sums: Sums) -> dict[str, float]:
        """Loss and accuracy on held-out clauses, and the length of what it generates relative to the true length."""
        codes, lengths = float(sums["codes"]), sums["lengths"].tolist()
        return {
            "loss": float(sums["next_code"]) / max(codes, 1), "accuracy": float(sums["accuracy"]) / max(codes, 1),
            "length": lengths[0] / max(lengths[1], 1),
        }  # fmt: skip


def fit_durations(clauses: list[Clause], vocab_size: int) -> np.ndarray:
    """Codec frames that each token lasts, by ridge regression of the clauses' lengths on their token counts; rare and
    unseen tokens stay near the mean. float32 [vocab_size], nothing under half a frame."""
    used, places = np.unique(np.concatenate([clause.ids for clause in clauses]).astype(int), return_inverse=True)
    x = np.zeros((len(clauses), len(used)))
    np.add.at(x, (np.repeat(np.arange(len(clauses)), [len(clause.ids) for clause in clauses]), places), 1)
    frames = np.array([len(clause.codes) for clause in clauses], float)
    mean = frames.sum() / x.sum()
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
