"""What a stage learns from if its data are a file of LLaVA/VITA records.

Notable points:
- Records are read and checked at once, media when a step needs them.
- Each pass over the file has its own order, a function of (seed, pass), so a resumed stage sees the same.
- One in twenty records is held out; a few of these are the stage's probe.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from parley.config import ParleyConfig
from parley.media.audio import read_audio
from parley.media.image import read_image
from parley.media.video import read_video
from training.data.mixture import Mixture
from training.data.records import read_records
from training.data.sample import Sample
from training.recipe import Schedule

SOURCE = "records"
HELD_OUT = 20  # one record in so many
PROBE_SIZE = 24  # held-out records in a validation


class RecordedData:
    """Has what `NextTokenObjective` needs: schedule, mixture, probe, tokenizer.

    Raises `ValueError` if the file has a bad record, or none.
    """

    def __init__(self, file: Path, schedule: Schedule, config: ParleyConfig, tokenizer: Tokenizer, seed: int) -> None:
        samples, report = read_records(file)
        if report.bad:
            raise ValueError(f"{file}: {len(report.bad)} records cannot be learned from, the first {report.bad[0]}")
        if not samples:
            raise ValueError(f"{file} has no records")
        self.config, self.tokenizer, self.seed = config, tokenizer, seed
        self.media = sorted(report.media)  # kinds of media in the file: image, video, audio
        self._held_out = samples[HELD_OUT - 1 :: HELD_OUT]
        self._learned = [sample for i, sample in enumerate(samples) if i % HELD_OUT != HELD_OUT - 1]
        count = len(self._learned)
        batch = min(schedule.batch, count)
        steps = schedule.steps or -(-schedule.epochs * count // batch)
        self.schedule = replace(schedule, batch=batch, steps=steps, mixture={SOURCE: 100})
        self._order = lru_cache(2)(self._shuffled)

    @cached_property
    def mixture(self) -> Mixture:
        return Mixture(self.schedule.mixture, {SOURCE: self.sample}, self.seed)

    @cached_property
    def probe(self) -> list[Sample]:
        """A few held-out records."""
        return [self.opened(sample) for sample in self._held_out[:PROBE_SIZE]]

    def sample(self, number: int) -> Sample:
        """Training sample `number`, its media read."""
        passed, place = divmod(number, len(self._learned))
        return self.opened(self._learned[self._order(passed)[place]])

    def opened(self, sample: Sample) -> Sample:
        """The sample with its files read. Raises `ValueError` for a file that cannot be read."""
        messages = []
        for message in sample.messages:
            content = message["content"]
            if not isinstance(content, str):
                content = [self._read(part) for part in content]
            messages.append({**message, "content": content})
        return replace(sample, messages=messages)

    def _read(self, part: dict) -> dict:
        kind = part["type"]
        if kind == "text":
            return part
        try:
            match kind:
                case "image":
                    content = read_image(part[kind])
                case "video":
                    content = read_video(part[kind], self.config.vision)
                case "audio":
                    content = read_audio(part[kind], self.config.speech.sample_rate)
        except ValueError as error:
            raise ValueError(f"{part[kind]}: {error}") from None
        return {**part, kind: content}

    def _shuffled(self, passed: int) -> list[int]:
        order = list(range(len(self._learned)))
        random.Random(f"{self.seed} pass {passed}").shuffle(order)
        return order
