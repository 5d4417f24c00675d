"""Loss, token accuracy and exact match of the answers of dialogues: of records, or of what a mix holds out.

The answers of the records are read, not written by the model: an answer is matched exactly if every token of it is the
most likely one, which is exactly when greedy decoding writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from parley.models.parley import Parley
from training.attention import packed
from training.data.heldout import split
from training.data.loader import to_device
from training.data.media import open_sample
from training.data.mix import MIX_SUFFIXES, SPEECH, read_mix
from training.data.record_error import RecordError
from training.data.sample import Sample, parts
from training.data.source import Source
from training.data.sources.dialogues import open_dialogues
from training.evaluation.suites.answers import AnswerData
from training.evaluation.suites.asking import load_parts
from training.evaluation.suites.reading import results
from training.evaluation.suites.suite import SuiteRun
from training.evaluation.table import Measure
from training.objectives.next_token import NextTokenObjective
from training.recipe import find_stage

NEEDED = ("language",)
USEFUL = ("vision_encoder", "vision_adapter", "speech_encoder", "speech_adapter", "speech_prompt", "state_head")
ADAPTER_OF = {"image": "vision_adapter", "video": "vision_adapter", "audio": "speech_adapter"}


@dataclass
class HeldOut:
    """Some records of a source, as a `Source`."""

    source: Source[Sample]
    chosen: np.ndarray  # [records], numbers in the source

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Sample:
        return self.source[int(self.chosen[index])]

    def where(self, index: int) -> str:
        return self.source.where(int(self.chosen[index]))

    def group(self, index: int) -> str:
        return self.source.group(int(self.chosen[index]))


def measures(run: SuiteRun) -> list[Measure]:
    model = load_parts(run.checkpoint, NEEDED, USEFUL, torch.float32)
    score = scorer(model)
    return [measure for name, source in sources(run) for measure in source_measures(run, score, name, source)]


def sources(run: SuiteRun) -> Iterator[tuple[str, Source[Sample]]]:
    """(name, records) of what is measured. Raises `ValueError` if a mix holds no dialogue out."""
    if run.data.suffix not in MIX_SUFFIXES:
        yield run.data.name, open_dialogues(run.data, media=run.media)
        return
    mixed = read_mix(run.data).sources
    kept = [(one, part.held_out) for one, part in zip(mixed, split(mixed), strict=True) if len(part.held_out)]
    dialogues = [(one, held_out) for one, held_out in kept if one.kind not in SPEECH]
    if not dialogues:
        raise ValueError(f"{run.data} holds no dialogue out: small sources are learned from whole")
    for one, held_out in dialogues:
        yield f"{one.name}, held-out {one.kind}", HeldOut(one.source, held_out)


def source_measures(
    run: SuiteRun, score: Callable[[Sample], np.ndarray], name: str, source: Source[Sample]
) -> list[Measure]:
    """The measures of one source."""
    answers, right, tokens, right_tokens, loss = sum(results(source, run.count, score, name, run.left_out))
    return [
        Measure(f"{name}: answers matched exactly", 100 * right / answers, int(answers)),
        Measure(f"{name}: tokens right", 100 * right_tokens / tokens, int(tokens)),
        Measure(f"{name}: loss, nats a token", loss / tokens, int(tokens), digits=3),
    ]


def scorer(model: Parley) -> Callable[[Sample], np.ndarray]:
    """A function of a sample: [answers, answers matched, tokens, tokens right, loss summed over tokens].

    It raises `RecordError` for a sample that the model cannot take in.
    """
    objective = NextTokenObjective(replace(find_stage("2.2"), trains=()), model, AnswerData.of(model), 0).eval()
    longest = model.config.language.max_position_embeddings

    @torch.inference_mode()
    def score(sample: Sample) -> np.ndarray:
        check_media(sample, model)
        rendered = objective.collate.render(open_sample(sample, model.config), {})
        if len(rendered.ids) > longest:
            raise RecordError("too long", f"{len(rendered.ids):,} tokens; the model reads {longest:,}")
        batch = to_device(objective.collate.batch([rendered]), objective.device)
        with packed(model.language), torch.autocast("cuda", torch.bfloat16, enabled=objective.device.type == "cuda"):
            scores = objective.scores(batch)
        columns = torch.ones_like(scores.tokens), scores.right, scores.tokens, scores.right_tokens, scores.loss
        return torch.stack([column.double().sum() for column in columns]).cpu().numpy()

    return score


def check_media(sample: Sample, model: Parley) -> None:
    """Raises `RecordError` for media that the model has no part for."""
    there = {part["type"] for message in sample.messages for part in parts(message["content"])} & ADAPTER_OF.keys()
    if unread := sorted(kind for kind in there if getattr(model, ADAPTER_OF[kind]) is None):
        raise RecordError("media not taken in", f"a record with {', '.join(unread)}; the model has no part for that")
