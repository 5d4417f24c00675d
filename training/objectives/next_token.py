"""Stages 0.1, 1.1, 1.2, 1.3, 2.1b, 2.2: the language model predicts the answers of dialogues.

Notable points:
- Loss on what the assistant says, its closing token included, and on nothing else; the mean over all such tokens.
- Pictures and speech are encoded first, so that the samples' lengths are known; then samples are packed into rows.
- 2.2 adds the state head's loss where an answer opens, and keeps the encoder's transcripts true with a CTC loss
  through the frozen CTC head.
- `validate` counts an answer as right if every one of its tokens would be chosen, which is exactly when greedy
  decoding writes it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from parley.config import STATES
from parley.media.image import frames_to_pixels, tile
from parley.models.speech import fbank
from parley.text.prompt import MediaSegment, PromptWriter
from training.data.loader import moved
from training.data.packing import IGNORED, Rows, pack_alike
from training.data.records import Sample, parts, turn_states
from training.distributed.precision import product_dtype

STATE_WEIGHT = 0.2
CTC_WEIGHT = 1.0
TOGETHER = {"cpu": 8, "cuda": 64}  # utterances that the speech encoder hears at once: a GPU waits for many calls


@dataclass
class Rendered:
    """A sample as segments of ids, a piece of media by its number in the batch."""

    segments: list[list[int] | int] = field(default_factory=list)  # ids, or the number of a piece of media
    answers: list[bool] = field(default_factory=list)  # whether a segment is learned
    states: list[int] = field(default_factory=list)  # index into STATES, one an answer
    kinds: list[str] = field(default_factory=list)  # what is asked, one an answer


@dataclass
class DialogBatch:
    samples: list[Rendered]
    pixels: Tensor | None = None  # [tiles, 3, side, side] of all pictures and frames
    tiles: list[int] = field(default_factory=list)  # of each picture
    features: Tensor | None = None  # [utterances, frames, mel]
    lengths: Tensor | None = None  # [utterances]
    transcripts: list[str] = field(default_factory=list)  # of each utterance; "" where it is none
    media: list[tuple[str, int]] = field(default_factory=list)  # ("image" | "speech", its number)


class NextTokenObjective:
    """See `training.objectives`."""

    def __init__(self, stage, model, data, seed: int) -> None:
        self.stage, self.model, self.data, self.seed = stage, model, data, seed
        self.config, self.schedule = model.config, data.schedule
        self.writer = PromptWriter.of(self.config.language, data.tokenizer)
        self.device = next(model.language.parameters()).device
        self.table = model.language.get_input_embeddings()
        self.unfit = 0  # utterances so far with more words and letters than the CTC head can write in their frames

    def batch(self, step: int) -> DialogBatch:
        size = self.schedule.batch
        return self.prepare([self.data.mixture[number] for number in range(step * size, (step + 1) * size)])

    def prepare(self, samples: list[Sample]) -> DialogBatch:
        """Samples → ids, pixels and mel frames, still without the model."""
        batch, pictures, speech = DialogBatch([]), [], []
        number_of: dict[int, int] = {}  # a picture that several samples show is encoded once
        for sample in samples:
            rendered = Rendered(states=[STATES.index(state) for state in turn_states(sample.messages)])
            rendered.kinds = [sample.about.get("kind", sample.task)] * len(rendered.states)
            for segment in self.writer.render(sample.messages):
                if isinstance(segment, MediaSegment):
                    rendered.segments.append(len(batch.media))
                    rendered.answers.append(False)
                    if segment.kind == "speech":
                        batch.media.append(("speech", len(speech)))
                        speech.append(fbank(segment.content, self.config.speech))
                    else:
                        cut = tile if segment.kind == "image" else frames_to_pixels
                        known = number_of.setdefault(id(segment.content), len(pictures))
                        batch.media.append(("image", known))
                        if known == len(pictures):
                            pictures.append(torch.from_numpy(cut(segment.content, self.config.vision)))
                else:
                    rendered.segments.append(segment.ids)
                    rendered.answers.append(segment.answer)
            batch.samples.append(rendered)
            batch.transcripts += [
                part.get("transcript", "")
                for message in sample.messages
                for part in parts(message["content"])
                if part["type"] == "audio"
            ]
        if pictures:
            batch.pixels, batch.tiles = torch.cat(pictures), [len(picture) for picture in pictures]
        if speech:
            batch.features = pad_sequence(speech, batch_first=True)
            batch.lengths = torch.tensor([len(features) for features in speech])
        return batch

    def loss(self, batch: DialogBatch) -> tuple[Tensor, dict[str, float]]:
        packs, speech = self.forward(batch)
        learned = [rows.labels != IGNORED for rows, _ in packs]
        hidden = torch.cat([hidden[here] for (_, hidden), here in zip(packs, learned, strict=True)])
        labels = torch.cat([rows.labels[here] for (rows, _), here in zip(packs, learned, strict=True)])
        loss = F.cross_entropy(self.model.language.lm_head(hidden).float(), labels)
        metrics = {"next_token": loss.item(), "tokens": float(sum((rows.owner >= 0).sum() for rows, _ in packs))}
        if self.stage.state:
            opened = [(hidden, *self._openings(batch, rows)) for rows, hidden in packs]
            hidden = torch.cat([hidden[at[:, 0], at[:, 1]] for hidden, at, _ in opened])
            states = torch.cat([states for _, _, states in opened])
            state_loss = F.cross_entropy(self.model.state_head(hidden).float(), states)
            loss = loss + STATE_WEIGHT * state_loss
            metrics["state"] = state_loss.item()
            if speech is not None:
                ctc = self._ctc(*speech, batch.transcripts)
                if ctc is not None:
                    loss = loss + CTC_WEIGHT * ctc
                    metrics |= {"ctc": ctc.item(), "unfit": float(self.unfit)}
        return loss, metrics

    def forward(self, batch: DialogBatch) -> tuple[list[tuple[Rows, Tensor]], tuple[Tensor, Tensor] | None]:
        """Packs of rows with the language model's last hidden states [rows, length, d], and the speech encoder's frames
        and lengths."""
        vectors, speech = self._media(batch)
        samples = []
        for rendered in batch.samples:
            ids: list[int] = []
            labels: list[int] = []
            for segment, answer in zip(rendered.segments, rendered.answers, strict=True):
                here = [-1 - segment] * len(vectors[segment]) if isinstance(segment, int) else segment
                ids += here
                labels += here if answer else [IGNORED] * len(here)
            samples.append((ids, labels))
        packs = [moved(rows, self.device) for rows in pack_alike(samples, self.schedule.row)]
        starts = torch.tensor([0] + [len(v) for v in vectors[:-1]], device=self.device).cumsum(0)
        flat = torch.cat(vectors) if vectors else None
        return [(rows, self._read(rows, flat, starts)) for rows in packs], speech

    def _read(self, rows: Rows, flat: Tensor | None, starts: Tensor) -> Tensor:
        """The language model's last hidden states [rows, length, d]. Where an id is -1 - n, the vectors of media n
        stand: those of `flat` [vectors, d] from `starts[n]` on."""
        embedded = self.table(rows.ids.clamp(min=0))
        if flat is not None:
            # Rows hold media in their own order: gather by the number that stands in their place.
            number = (-1 - rows.ids).clamp(min=0)
            inside = _run_index(rows.ids)
            spliced = flat[(starts[number] + inside).clamp(max=len(flat) - 1)].to(embedded.dtype)
            embedded = torch.where((rows.ids < 0)[..., None], spliced, embedded)
        seen = torch.zeros((), dtype=product_dtype(self.device), device=self.device)
        mask = seen.where(rows.mask(), -torch.inf)
        return self.model.language.model(
            inputs_embeds=embedded, attention_mask=mask, position_ids=rows.positions, use_cache=False
        ).last_hidden_state

    def _media(self, batch: DialogBatch) -> tuple[list[Tensor], tuple[Tensor, Tensor] | None]:
        """The vectors [n, d] of each piece of media, in order."""
        pictures, spoken, speech = [], [], None
        if batch.pixels is not None:
            tokens = self.model.vision_adapter(self.model.vision_encoder(batch.pixels))
            pictures = [tile.flatten(0, 1) for tile in tokens.split(batch.tiles)]
        if batch.features is not None:
            speech = self._hear(batch.features, batch.lengths)
            vectors, lengths = self.model.speech_adapter(*speech)
            prompt = self.model.speech_prompt.vectors
            spoken = [torch.cat([prompt, row[:length]]) for row, length in zip(vectors, lengths.tolist(), strict=True)]
        return [spoken[number] if kind == "speech" else pictures[number] for kind, number in batch.media], speech

    def _hear(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The speech encoder's frames and lengths, utterances of like length together: else a long one would make all
        the short ones as long as itself."""
        order = lengths.argsort()
        heard, sizes = [], []
        for group in order.split(TOGETHER[self.device.type]):
            frames, size = self.model.speech_encoder(features[group, : int(lengths[group].max())], lengths[group])
            heard += frames.unbind()
            sizes.append(size)
        back = order.argsort()
        return pad_sequence(heard, batch_first=True)[back], torch.cat(sizes)[back]

    def _openings(self, batch: DialogBatch, rows: Rows) -> tuple[Tensor, Tensor]:
        """Where answers open, [answers, 2] row and position of the last id before each, and their states [answers]."""
        learned = rows.labels != IGNORED
        opens = learned & ~F.pad(learned, (1, 0))[:, :-1]
        # A row runs through its samples in the order of their places; an answer's owner and order give its state.
        at = opens.nonzero()
        turn: dict[int, int] = defaultdict(int)
        states = []
        for owner in rows.owner[opens].tolist():
            states.append(batch.samples[owner].states[turn[owner]])
            turn[owner] += 1
        return at, torch.tensor(states, device=self.device)

    def _ctc(self, frames: Tensor, lengths: Tensor, transcripts: list[str]) -> Tensor | None:
        known = [i for i, text in enumerate(transcripts) if text]
        if not known:
            return None
        targets = [torch.tensor(self.model.ctc_head.vocabulary.encode(transcripts[i]), device=self.device) for i in known]
        log_probs = self.model.ctc_head(frames[known]).float().transpose(0, 1)
        sizes = torch.tensor([len(target) for target in targets])
        heard = lengths[known].cpu()
        self.unfit += int((heard < sizes).sum())
        return F.ctc_loss(log_probs, torch.cat(targets), heard, sizes, zero_infinity=True)

    @torch.no_grad()
    def score(self, samples: list[Sample], size: int = 32) -> list[tuple[str, bool, str, str]]:
        """(kind, whether the answer is right, state asked, state told) of every answer of every sample, in order."""
        found = []
        for start in range(0, len(samples), size):
            batch = moved(self.prepare(samples[start : start + size]), self.device)
            answers: dict[int, list] = defaultdict(list)
            for rows, hidden in self.forward(batch)[0]:
                self._judge(batch, rows, hidden, answers)
            found += [answer for owner in range(len(batch.samples)) for answer in answers[owner]]
        return found

    def _judge(self, batch: DialogBatch, rows: Rows, hidden: Tensor, answers: dict[int, list]) -> None:
        """Adds (kind, right, state asked, state told) of every answer to its sample's `answers`, in order."""
        learned = rows.labels != IGNORED
        right = torch.ones_like(learned)
        right[learned] = self.model.language.lm_head(hidden[learned]).argmax(-1) == rows.labels[learned]
        at, states = self._openings(batch, rows)
        told = [-1] * len(at)
        if self.model.state_head is not None:
            told = self.model.state_head(hidden[at[:, 0], at[:, 1]]).argmax(-1).tolist()
        for (row, column), state, said in zip(at.tolist(), states.tolist(), told, strict=True):
            end = column
            while end < rows.labels.shape[1] and learned[row, end]:
                end += 1
            owner = int(rows.owner[row, column])
            kind = batch.samples[owner].kinds[len(answers[owner])]
            answers[owner].append((kind, bool(right[row, column:end].all()), STATES[state], STATES[said]))

    def validate(self) -> dict[str, float]:
        """Percent of held-out answers that are right, by kind, and of states told right."""
        counts: dict[str, list[bool]] = defaultdict(list)
        for kind, right, asked, told in self.score(self.data.probe):
            counts[kind].append(right)
            if self.stage.state:
                counts["state"].append(asked == told)
        return {kind: 100 * sum(rights) / len(rights) for kind, rights in sorted(counts.items())}


def _run_index(ids: Tensor) -> Tensor:
    """For each position of [rows, length], how far it is into its run of equal ids."""
    column = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    starts = torch.ones_like(ids, dtype=torch.bool)
    starts[:, 1:] = ids[:, 1:] != ids[:, :-1]
    return column - torch.where(starts, column, 0).cummax(1).values
