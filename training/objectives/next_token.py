"""Stages 0.1, 1.1, 1.2, 1.3, 2.1b, 2.2: the language model predicts the answers of dialogues.

Notable points:
- Loss on what the assistant says, its closing token included, and on nothing else; the mean over all such tokens.
- Pictures and speech are encoded first, so that the lengths of samples are known; then samples are packed.
- 2.2 adds the loss of the state head where an answer opens, and a CTC loss through the frozen CTC head, which keeps the
  transcripts of the speech encoder right.
- `validate` counts an answer as right if every one of its tokens is the most likely one, which is exactly when greedy
  decoding writes it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from parley.config import STATES
from parley.text.prompt import PromptWriter
from training.data.collate import DialogBatch, DialogCollator, with_labels
from training.data.loader import to_device
from training.data.packing import IGNORED, Pack, pack_by_length
from training.data.sample import Sample
from training.distributed.precision import matmul_dtype

STATE_WEIGHT = 0.2
CTC_WEIGHT = 1.0
UTTERANCES_A_CALL = {"cpu": 8, "cuda": 64}  # of the speech encoder: many small calls are slow on a GPU


class Speech(NamedTuple):
    """What the speech encoder writes."""

    frames: Tensor  # [utterances, frames, d]
    lengths: Tensor  # [utterances]


class ScoredAnswer(NamedTuple):
    kind: str
    right: bool
    state: str  # expected
    predicted_state: str


class NextTokenObjective:
    """See `training.objectives`."""

    def __init__(self, stage, model, data, seed: int) -> None:
        self.stage, self.model, self.data, self.seed = stage, model, data, seed
        self.config, self.schedule = model.config, data.schedule
        self.collate = DialogCollator(self.config, PromptWriter.of(self.config.language, data.tokenizer))
        self.device = next(model.language.parameters()).device
        self.table = model.language.get_input_embeddings()
        self.unfit = 0  # utterances so far with more words and letters than the CTC head can write in their frames

    def batch(self, step: int) -> DialogBatch:
        size = self.schedule.batch
        return self.collate([self.data.mixture[number] for number in range(step * size, (step + 1) * size)])

    def loss(self, batch: DialogBatch) -> tuple[Tensor, dict[str, float]]:
        packs, speech = self.forward(batch)
        learned = [pack.labels != IGNORED for pack, _ in packs]
        hidden = torch.cat([hidden[here] for (_, hidden), here in zip(packs, learned, strict=True)])
        labels = torch.cat([pack.labels[here] for (pack, _), here in zip(packs, learned, strict=True)])
        loss = F.cross_entropy(self.model.language.lm_head(hidden).float(), labels)
        metrics = {"next_token": loss.item(), "tokens": float(sum((pack.owner >= 0).sum() for pack, _ in packs))}
        if not self.stage.state:
            return loss, metrics
        state = self._state_loss(batch, packs)
        loss, metrics["state"] = loss + STATE_WEIGHT * state, state.item()
        ctc = None if speech is None else self._ctc_loss(speech, batch.transcripts)
        if ctc is not None:
            loss = loss + CTC_WEIGHT * ctc
            metrics |= {"ctc": ctc.item(), "unfit": float(self.unfit)}
        return loss, metrics

    def forward(self, batch: DialogBatch) -> tuple[list[tuple[Pack, Tensor]], Speech | None]:
        """Packs with the language model's last hidden states [sequences, length, d], and what the speech encoder
        writes."""
        speech = None if batch.features is None else self._encode_speech(batch.features, batch.lengths)
        media = self._media_embeddings(batch, speech)
        samples = [with_labels(rendered, [len(embeddings) for embeddings in media]) for rendered in batch.samples]
        packs = [to_device(pack, self.device) for pack in pack_by_length(samples, self.schedule.sequence_length)]
        starts = torch.tensor([0] + [len(embeddings) for embeddings in media[:-1]], device=self.device).cumsum(0)
        flat = torch.cat(media) if media else None
        return [(pack, self._hidden_states(pack, flat, starts)) for pack in packs], speech

    def _hidden_states(self, pack: Pack, flat: Tensor | None, starts: Tensor) -> Tensor:
        """The language model's last hidden states [sequences, length, d]. Where an id is -1 - n, the embeddings of
        media n stand: those of `flat` [embeddings, d] from `starts[n]` on."""
        embedded = self.table(pack.ids.clamp(min=0))
        if flat is not None:
            number = (-1 - pack.ids).clamp(min=0)
            place = starts[number] + _run_index(pack.ids)
            spliced = flat[place.clamp(max=len(flat) - 1)].to(embedded.dtype)
            embedded = torch.where((pack.ids < 0)[..., None], spliced, embedded)
        visible = torch.zeros((), dtype=matmul_dtype(self.device), device=self.device)
        mask = visible.where(pack.mask(), -torch.inf)
        return self.model.language.model(
            inputs_embeds=embedded, attention_mask=mask, position_ids=pack.positions, use_cache=False
        ).last_hidden_state

    def _media_embeddings(self, batch: DialogBatch, speech: Speech | None) -> list[Tensor]:
        """The embeddings [n, d] of each piece of media, in order."""
        pictures, spoken = [], []
        if batch.pixels is not None:
            tokens = self.model.vision_adapter(self.model.vision_encoder(batch.pixels))
            pictures = [tile.flatten(0, 1) for tile in tokens.split(batch.tiles)]
        if speech is not None:
            adapted, lengths = self.model.speech_adapter(*speech)
            prompt = self.model.speech_prompt.vectors
            spoken = [torch.cat([prompt, one[:length]]) for one, length in zip(adapted, lengths.tolist(), strict=True)]
        return [spoken[number] if kind == "speech" else pictures[number] for kind, number in batch.media]

    def _encode_speech(self, features: Tensor, lengths: Tensor) -> Speech:
        """The speech encoder's frames, utterances of similar length in one call, so that little is padding."""
        order = lengths.argsort()
        frames, sizes = [], []
        for group in order.split(UTTERANCES_A_CALL[self.device.type]):
            encoded, size = self.model.speech_encoder(features[group, : int(lengths[group].max())], lengths[group])
            frames += encoded.unbind()
            sizes.append(size)
        back = order.argsort()
        return Speech(pad_sequence(frames, batch_first=True)[back], torch.cat(sizes)[back])

    def _openings(self, batch: DialogBatch, pack: Pack) -> tuple[Tensor, Tensor]:
        """Where answers open, [answers, 2] sequence and position of the last id before each, and their states
        [answers]."""
        learned = pack.labels != IGNORED
        opens = learned & ~F.pad(learned, (1, 0))[:, :-1]
        # A sequence holds its samples one after the other; the answers of each are in order.
        answered: dict[int, int] = defaultdict(int)
        states = []
        for owner in pack.owner[opens].tolist():
            states.append(batch.samples[owner].states[answered[owner]])
            answered[owner] += 1
        return opens.nonzero(), torch.tensor(states, device=self.device)

    def _state_loss(self, batch: DialogBatch, packs: list[tuple[Pack, Tensor]]) -> Tensor:
        opened = [(hidden, *self._openings(batch, pack)) for pack, hidden in packs]
        hidden = torch.cat([hidden[at[:, 0], at[:, 1]] for hidden, at, _ in opened])
        states = torch.cat([states for _, _, states in opened])
        return F.cross_entropy(self.model.state_head(hidden).float(), states)

    def _ctc_loss(self, speech: Speech, transcripts: list[str]) -> Tensor | None:
        """The CTC loss of the utterances that have a transcript; None if none has."""
        known = [i for i, text in enumerate(transcripts) if text]
        if not known:
            return None
        encode = self.model.ctc_head.vocabulary.encode
        targets = [torch.tensor(encode(transcripts[i]), device=self.device) for i in known]
        log_probs = self.model.ctc_head(speech.frames[known]).float().transpose(0, 1)
        sizes = torch.tensor([len(target) for target in targets])
        lengths = speech.lengths[known].cpu()
        self.unfit += int((lengths < sizes).sum())
        return F.ctc_loss(log_probs, torch.cat(targets), lengths, sizes, zero_infinity=True)

    @torch.no_grad()
    def score(self, samples: list[Sample], size: int = 32) -> list[ScoredAnswer]:
        """Every answer of every sample, in order; `size` samples in one forward pass."""
        scored = []
        for start in range(0, len(samples), size):
            batch = to_device(self.collate(samples[start : start + size]), self.device)
            answers: dict[int, list[ScoredAnswer]] = defaultdict(list)
            for pack, hidden in self.forward(batch)[0]:
                self._score_pack(batch, pack, hidden, answers)
            scored += [answer for owner in range(len(batch.samples)) for answer in answers[owner]]
        return scored

    def _score_pack(
        self, batch: DialogBatch, pack: Pack, hidden: Tensor, answers: dict[int, list[ScoredAnswer]]
    ) -> None:
        """Adds every answer of a pack to those of its sample, in order."""
        learned = pack.labels != IGNORED
        right = torch.ones_like(learned)
        right[learned] = self.model.language.lm_head(hidden[learned]).argmax(-1) == pack.labels[learned]
        at, states = self._openings(batch, pack)
        predicted = [-1] * len(at)
        if self.model.state_head is not None:
            predicted = self.model.state_head(hidden[at[:, 0], at[:, 1]]).argmax(-1).tolist()
        for (sequence, start), state, guess in zip(at.tolist(), states.tolist(), predicted, strict=True):
            end = start
            while end < pack.labels.shape[1] and learned[sequence, end]:
                end += 1
            owner = int(pack.owner[sequence, start])
            kind = batch.samples[owner].kinds[len(answers[owner])]
            all_right = bool(right[sequence, start:end].all())
            answers[owner].append(ScoredAnswer(kind, all_right, STATES[state], STATES[guess]))

    def validate(self) -> dict[str, float]:
        """Percent of held-out answers that are right, by kind, and of states that are predicted right."""
        counts: dict[str, list[bool]] = defaultdict(list)
        for answer in self.score(self.data.probe):
            counts[answer.kind].append(answer.right)
            if self.stage.state:
                counts["state"].append(answer.state == answer.predicted_state)
        return {kind: 100 * sum(rights) / len(rights) for kind, rights in sorted(counts.items())}


def _run_index(ids: Tensor) -> Tensor:
    """For each position of [sequences, length], how far it is into its run of equal ids."""
    column = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    starts = torch.ones_like(ids, dtype=torch.bool)
    starts[:, 1:] = ids[:, 1:] != ids[:, :-1]
    return column - torch.where(starts, column, 0).cummax(1).values
