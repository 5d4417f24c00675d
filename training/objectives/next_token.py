"""Stages 0.1, 1.1, 1.2, 1.3, 2.1b, 2.2: the language model predicts the answers of dialogues.

Notable points:
- Loss on what the assistant says, its closing token included, and on nothing else; the mean over all such tokens.
- Samples are packed first; then pictures and speech of a pass are encoded in one call each, and their embeddings take
  their places.
- 2.2 adds the losses of the state head and of the end-of-turn head where an answer opens, and a CTC loss through the
  frozen CTC head, which keeps the transcripts of the speech encoder right.
- Of a question that was cut short nothing is learned but its state, and that it is not complete.
- A held-out answer is right if every one of its tokens is the most likely one, which is exactly when greedy decoding
  writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from parley.config import STATES
from parley.models.speech import random_chunks
from parley.text.prompt import PromptWriter
from training.attention import packed
from training.data.collate import DialogBatch, DialogCollator, Pictures, Rendered
from training.data.loader import to_device
from training.data.packing import IGNORED, split_by_budget
from training.data.sample import Sample
from training.objectives.objective import PIECE, Objective, Sums, Term

STATE_WEIGHT = 0.2
# The head's two losses: so that both answers count as much as each other, however rare one is in the data.
END_OF_TURN_WEIGHT = 0.1
ENDS = {"complete": 1, "cut_short": 0}  # sum, and what is divided by → value of `DialogBatch.complete`
CTC_WEIGHT = 1.0
PROBE_TOKENS = 32_768  # of a pass that only measures


class Speech(NamedTuple):
    """What the speech encoder writes."""

    frames: Tensor  # [utterances, frames, d]
    lengths: Tensor  # [utterances]


class ScoredAnswer(NamedTuple):
    kind: str
    right: bool
    state: str  # expected
    predicted_state: str
    complete: bool | None  # expected; None where it is not asked
    predicted_complete: bool | None  # None without an end-of-turn head


class Scores(NamedTuple):
    """What is known of each answer of a pass, in order."""

    right: Tensor  # bool [answers]: every token
    tokens: Tensor  # [answers]
    right_tokens: Tensor  # [answers]
    loss: Tensor  # [answers], summed over tokens
    predicted: Tensor  # [answers]: index into STATES, -1 without a state head
    complete: Tensor  # int64 [answers]: 1 if the question is probably complete, 0 if not, -1 without the head


class KindSums(NamedTuple):
    """What a validation counts of a kind: columns [answers], or their sums."""

    written: Any  # answers of which a text is learned
    right: Any  # of these
    tokens: Any
    right_tokens: Any
    loss: Any
    answers: Any  # all
    right_states: Any
    known: Any  # questions known as complete or cut short
    right_ends: Any  # of these


class NextTokenObjective(Objective):
    """See `training.objectives.objective`."""

    def __init__(self, stage, model, data, seed: int) -> None:
        super().__init__(model, seed, data.schedule.batch)
        self.stage, self.data, self.schedule = stage, data, data.schedule
        # A pass never holds samples of two pieces, so a piece fills one.
        self.piece = max(PIECE, self.schedule.tokens // self.schedule.sequence_length)
        adapters = {"image": "vision_adapter", "speech": "speech_adapter"}
        always = [kind for kind, part in adapters.items() if part in stage.trains and getattr(model, part) is not None]
        self.collate = DialogCollator(model.config, PromptWriter.of(model.config.language, data.tokenizer), always)
        self.terms = {"next_token": Term("tokens")}
        if stage.state:
            self.terms["state"] = Term("answers", STATE_WEIGHT)
        self.ends = stage.state and model.end_of_turn_head is not None
        if self.ends:
            self.terms |= {name: Term(name, END_OF_TURN_WEIGHT) for name in ENDS}
        self.aligned = stage.state and model.ctc_head is not None and "speech_encoder" in stage.trains
        if self.aligned:
            self.terms |= {"ctc": Term("transcripts", CTC_WEIGHT), "unfit": Term("transcripts", 0.0)}

    def passes(self, numbers: Sequence[int], step: int) -> list[DialogBatch]:
        pictures: Pictures = {}
        samples = [self._rendered(number, pictures) for number in numbers]
        return self._packed(samples, self.schedule.tokens)

    def _rendered(self, number: int, pictures: Pictures) -> Rendered:
        """Training sample `number`. Raises `ValueError` with its name if it is longer than a sequence or teaches
        nothing."""
        sample = self.collate.render(self.data.mixture[number], pictures)
        if len(sample.ids) > self.schedule.sequence_length:
            raise ValueError(
                f"{self.data.mixture.where(number)}: {len(sample.ids)} tokens; a sequence holds "
                f"{self.schedule.sequence_length}: raise --sequence-length, or leave the sample out"
            )
        learned = self.stage.state and sample.answers
        if not learned and all(label == IGNORED for label in sample.labels):
            raise ValueError(f"{self.data.mixture.where(number)}: there is no answer to learn")
        return sample

    def _packed(self, samples: list[Rendered], budget: int) -> list[DialogBatch]:
        split = split_by_budget([len(sample.ids) for sample in samples], budget)
        return [self.collate.batch([samples[i] for i in numbers]) for numbers in split]

    def blank(self) -> DialogBatch:
        return self.collate.blank()

    def counts(self, batch: DialogBatch) -> dict[str, float]:
        counts = {"tokens": float((batch.labels != IGNORED).sum()), "answers": float(len(batch.states))}
        counts |= {name: float((batch.complete == value).sum()) for name, value in ENDS.items()}
        return counts | {"transcripts": float(sum(map(bool, batch.transcripts))), "positions": float(len(batch.ids))}

    def forward(self, batch: DialogBatch, step: int = 0) -> Sums:
        if not self.training:
            return self._measures(batch)
        hidden, speech = self.hidden_states(batch, step)
        learned = batch.labels != IGNORED
        logits = self.model.language.lm_head(hidden[learned]).float()
        sums = {"next_token": F.cross_entropy(logits, batch.labels[learned], reduction="sum")}
        if self.stage.state:
            opened = hidden[self._opens(batch)]
            logits = self.model.state_head(opened).float()
            sums["state"] = F.cross_entropy(logits, batch.states, reduction="sum")
        if self.ends:
            sums |= self._ends(opened, batch.complete)
        if self.aligned:
            sums |= self._ctc(speech, batch.transcripts)
        return sums

    def _ends(self, opened: Tensor, complete: Tensor) -> Sums:
        """The losses of the end-of-turn head on complete questions and on those that were cut short."""
        logits = self.model.end_of_turn_head(opened)[:, 0].float()
        losses = F.binary_cross_entropy_with_logits(logits, complete.clamp(min=0).to(logits), reduction="none")
        return {name: (losses * (complete == value)).sum() for name, value in ENDS.items()}

    def normalise(self, batch: DialogBatch) -> None:
        if batch.features is not None:
            self.model.speech_adapter(*self.model.speech_encoder(batch.features, batch.lengths))

    def hidden_states(self, batch: DialogBatch, step: int = 0) -> tuple[Tensor, Speech | None]:
        """The language model's last hidden states [tokens, d], and what the speech encoder writes."""
        language = self.model.language
        embedded = language.get_input_embeddings()(batch.ids)
        speech = None if batch.features is None else self._encode_speech(batch.features, batch.lengths, step)
        media, unused = self._media_embeddings(batch, speech)
        if media:
            embedded = embedded.index_put((batch.places,), torch.cat(media).to(embedded.dtype))
        for blank in unused:  # so that every trained part has a gradient, of zeros
            embedded = embedded + 0.0 * blank.sum().to(embedded.dtype)
        return language.model(
            inputs_embeds=embedded[None], attention_mask={"full_attention": None}, position_ids=batch.positions[None],
            segments=batch.segments, use_cache=False,
        ).last_hidden_state[0], speech  # fmt: skip

    def _media_embeddings(self, batch: DialogBatch, speech: Speech | None) -> tuple[list[Tensor], list[Tensor]]:
        """The embeddings [n, d] of each medium, in order, and those of media that stand nowhere."""
        pictures, spoken = [], []
        if batch.pixels is not None:
            pixels = batch.pixels.to(next(self.model.vision_encoder.parameters()).dtype)
            tokens = self.model.vision_adapter(self.model.vision_encoder(pixels))
            pictures = [tile.flatten(0, 1) for tile in tokens.split(batch.tiles)]
        if speech is not None:
            adapted, lengths = self.model.speech_adapter(*speech)
            prompt = self.model.speech_prompt.vectors.to(adapted.dtype)
            spoken = [torch.cat([prompt, one[:length]]) for one, length in zip(adapted, lengths.tolist(), strict=True)]
        placed = [spoken[number] if is_speech else pictures[number] for is_speech, number in batch.media]
        used = set(batch.media)
        unused = [one for i, one in enumerate(pictures) if (False, i) not in used]
        return placed, unused + [one for i, one in enumerate(spoken) if (True, i) not in used]

    def _encode_speech(self, features: Tensor, lengths: Tensor, step: int) -> Speech:
        """One call, with chunk sizes that are the same in every process of a step."""
        chunks: tuple[int | None, int | None] = (None, None)
        encoder = self.model.speech_encoder
        if encoder.training and encoder.config.dynamic_chunks:
            chunks = random_chunks(torch.Generator().manual_seed(hash((self.seed, step))))
        return Speech(*encoder(features, lengths, *chunks))

    @staticmethod
    def _opens(batch: DialogBatch) -> Tensor:
        """int64 [answers]: the position of the last id before each answer."""
        return torch.tensor([answer.start for answer in batch.answers], dtype=torch.long, device=batch.ids.device)

    def _ctc(self, speech: Speech, transcripts: list[str]) -> Sums:
        """The CTC loss of the utterances that have a transcript, each divided by its length, and how many have more
        words and letters than frames."""
        known = [i for i, text in enumerate(transcripts) if text]
        if not known:
            return {"ctc": speech.frames.sum() * 0.0, "unfit": speech.frames.new_zeros(())}
        targets = [torch.tensor(self.model.ctc_head.vocabulary.encode(transcripts[i])) for i in known]
        sizes = torch.tensor([len(target) for target in targets])
        log_probs = self.model.ctc_head(speech.frames[known].to(self._ctc_dtype)).float().transpose(0, 1)
        lengths = speech.lengths[known].cpu()
        losses = F.ctc_loss(
            log_probs, torch.cat(targets).to(log_probs.device), lengths, sizes, reduction="none", zero_infinity=True
        )
        unfit = (lengths < sizes).sum().to(losses)
        return {"ctc": (losses / sizes.clamp(min=1).to(losses)).sum(), "unfit": unfit}

    @property
    def _ctc_dtype(self) -> torch.dtype:
        return self.model.ctc_head.project.weight.dtype

    # Held-out data

    def scores(self, batch: DialogBatch) -> Scores:
        """Every answer of a pass."""
        hidden, _ = self.hidden_states(batch)
        learned = (batch.labels != IGNORED).nonzero()[:, 0]
        logits, labels = self.model.language.lm_head(hidden[learned]).float(), batch.labels[learned]
        right, losses = logits.argmax(-1) == labels, F.cross_entropy(logits, labels, reduction="none")
        # Answers are in order, and so are the positions that are learned.
        sizes = [answer.end - answer.start for answer in batch.answers]
        owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long)).to(labels.device)
        sums = torch.zeros(len(sizes), 3, device=labels.device)
        sums.index_add_(0, owner, torch.stack([torch.ones_like(losses), right.float(), losses], 1))
        predicted = complete = torch.full((len(sizes),), -1, device=labels.device)
        opened = hidden[self._opens(batch)]
        if self.model.state_head is not None:
            predicted = self.model.state_head(opened).argmax(-1)
        if self.model.end_of_turn_head is not None:
            complete = (self.model.end_of_turn_head(opened)[:, 0] > 0).long()  # a probability over 0.5
        return Scores(sums[:, 0] == sums[:, 1], sums[:, 0], sums[:, 1], sums[:, 2], predicted, complete)

    def _measures(self, batch: DialogBatch) -> Sums:
        """A row of `KindSums` for each kind."""
        scores, known = self.scores(batch), batch.complete != IGNORED
        written = scores.tokens > 0
        columns = KindSums(
            written, written & scores.right, scores.tokens, scores.right_tokens, scores.loss, torch.ones_like(written),
            scores.predicted == batch.states, known, known & (scores.complete == batch.complete),
        )  # fmt: skip
        rows = torch.stack([column.float() for column in columns], 1)
        kinds = self._kinds
        number = torch.tensor([kinds.index(answer.kind) for answer in batch.answers], dtype=torch.long)
        table = torch.zeros(len(kinds), rows.shape[1], device=rows.device)
        return {"kinds": table.index_add(0, number.to(rows.device), rows)}

    @cached_property
    def _kinds(self) -> list[str]:
        return sorted({sample.about.get("kind", sample.task) for sample in self.data.probe})

    def probe(self, rank: int, world_size: int) -> list[DialogBatch]:
        pictures: Pictures = {}
        samples = [self.collate.render(sample, pictures) for sample in self.data.probe[rank::world_size]]
        return self._packed(samples, PROBE_TOKENS)

    def summary(self, sums: Sums) -> dict[str, float]:
        """Percent of answers that are right, by kind, of states, and of questions known as complete or cut short; the
        loss and the percent of right tokens of the kinds of the user's data."""
        found, table = {}, sums["kinds"].double()
        for kind, row in zip(self._kinds, table.tolist(), strict=True):
            of = KindSums(*row)
            if not of.written:
                continue
            found[kind] = 100 * of.right / of.written
            if self.schedule.shares:
                found[f"{kind}_loss"] = of.loss / of.tokens
                found[f"{kind}_token_accuracy"] = 100 * of.right_tokens / of.tokens
        total = KindSums(*table.sum(0).tolist())
        if self.stage.state and len(table):
            found["state"] = 100 * total.right_states / max(total.answers, 1)
        if self.ends and len(table):
            found["end_of_turn"] = 100 * total.right_ends / max(total.known, 1)
        return found

    @torch.no_grad()
    def score(self, samples: Sequence[Sample], size: int = 32) -> list[ScoredAnswer]:
        """Every answer of every sample, in order; `size` samples in one forward pass."""
        scored = []
        for start in range(0, len(samples), size):
            pictures: Pictures = {}
            rendered = [self.collate.render(sample, pictures) for sample in samples[start : start + size]]
            batch = to_device(self.collate.batch(rendered), self.device)
            with packed(self.model.language):
                scores = self.scores(batch)
            columns = (batch.answers, scores.right.tolist(), scores.predicted.tolist(), scores.complete.tolist())
            for answer, right, state, complete in zip(*columns, strict=True):
                states = STATES[answer.state], STATES[state]
                scored.append(ScoredAnswer(answer.kind, right, *states, known(answer.complete), known(complete)))
        return scored


def known(number: int) -> bool | None:
    """0 and 1 as bool; None for what stands for neither."""
    return None if number < 0 else bool(number)
