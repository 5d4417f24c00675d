"""A user's speech, as the objectives of speech stages ask for it (`training.data.transcribed.Spoken`).

Notable points:
- Utterance `index` is a function of (seed, index): the records and their order are those of `OwnSamples`.
- Lengths are those of the manifest, else those of the files' headers: nothing is decoded to sort by length.
- A codec learns nothing above the band of its recordings, so 3.1 and 3.2 leave out what was recorded at a lower rate
  than nine tenths of theirs: 22,050 Hz will do for 24,000 Hz, 16,000 Hz will not.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import soundfile
from tqdm import tqdm

from training.data.epochs import Epochs
from training.data.media import read_utterance
from training.data.mix import MixSource
from training.data.own_samples import OwnSamples, Records, spread
from training.data.record_error import RecordError
from training.data.skipped import Skipped
from training.data.source import Utterance
from training.distributed.process_group import is_main_process

SHORTEST, LONGEST = 0.1, 60.0  # seconds of an utterance: less makes no frame of the encoder, and is no word
FULL_BAND = 0.9  # share of the sample rate that speech must have been recorded at
HELD_OUT = 64  # records of a held-out set, at most
TRANSCRIPTS = 500_000  # that are read for a vocabulary: about half a minute
SHOWN = 10_000  # transcripts whose reading has a progress bar
ALL, LEARNED = "all", "learned"  # held-out sets that are of no single source


class OwnSpeech:
    """See `training.data.transcribed.Spoken`. The held-out sets are `all` and each source by its name; only one
    source has no `all`. Where nothing is held out the set is `learned`: utterances that are also learned from.

    Args:
        learned: the sources of `epochs`, each with the numbers of the records that are learned from.
        held_out: the same sources, with the numbers of the records that are held out.
        skipped: is told of bad records.
        sample_rate: Hz.
        full_band: whether recordings of a much lower rate are bad records.
        longest: seconds; longer utterances are bad records.
        check: raises `ValueError` for a transcript that cannot be learned from.
    """

    def __init__(
        self, learned: Sequence[tuple[MixSource, np.ndarray]], held_out: Sequence[tuple[MixSource, np.ndarray]],
        epochs: Epochs, skipped: Skipped, sample_rate: int, *, full_band: bool = False, longest: float = LONGEST,
        check: Callable[[str], object] = str,
    ) -> None:  # fmt: skip
        self.sample_rate, self.longest, self.check, self.skipped = sample_rate, longest, check, skipped
        self.lowest_rate = lowest_rate(sample_rate) if full_band else 0
        records = [Records(mixed, chosen, self.read) for mixed, chosen in learned]
        self.samples = OwnSamples(records, epochs, skipped)
        self._lengths = [Lengths(one) for one in records]
        self._held_out = held_out_sets([Records(mixed, chosen, self.read) for mixed, chosen in held_out], records)
        self.measures = tuple(self._held_out)

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        """Raises `ValueError` for a bad record that may not be skipped."""
        return self.samples[index]

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        """After the last record of a set comes the first again; a bad one is replaced by the next."""
        places = self._held_out[measure]
        for attempt in range(len(places)):
            records, record = places[(index + attempt) % len(places)]
            try:
                return records[record]
            except ValueError as error:
                self.skipped.add(records.mixed.name, records.where(record), error)
        raise ValueError(f"none of the {len(places)} held-out utterances of {measure} can be read")

    def seconds(self, index: int) -> float:
        place = self.samples.epochs[index]
        return self._lengths[place.source][place.record]

    def speaker(self, index: int) -> str:
        return self.samples.group(index)

    def where(self, index: int) -> str:
        """Where the record of utterance `index` is, for messages."""
        return self.samples.where(index)

    def read(self, mixed: MixSource, number: int) -> tuple[np.ndarray, str]:
        """Record `number` of a source, decoded. Raises `ValueError` if it cannot be learned from."""
        utterance = mixed.source[number]
        self.check(utterance.text)
        check_seconds(utterance, self.longest)
        return read_utterance(utterance, self.sample_rate, lowest_rate=self.lowest_rate), utterance.text


class Lengths:
    """The seconds of some records of a source, found when they are asked for: 4 bytes each."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self._known = np.full(len(records.chosen), np.nan, np.float32)

    def __getitem__(self, record: int) -> float:
        """0 for a bad record."""
        if np.isnan(self._known[record]):
            self._known[record] = self._found(record)
        return float(self._known[record])

    def _found(self, record: int) -> float:
        try:
            return seconds_of(self.records.mixed.source[int(self.records.chosen[record])])
        except RecordError:
            return 0.0


def lowest_rate(sample_rate: int) -> int:
    """Hz that speech must have been recorded at, for a codec of this sample rate."""
    return round(FULL_BAND * sample_rate)


def check_seconds(utterance: Utterance, longest: float = LONGEST) -> None:
    """Raises `RecordError` for an utterance that is too short or too long to be learned from."""
    seconds = seconds_of(utterance)
    if seconds > longest:
        raise RecordError("too long", f"{seconds:.1f} s; an utterance has at most {longest:g} s")
    if seconds < SHORTEST:
        raise RecordError("too short", f"{seconds:.3f} s; an utterance has at least {SHORTEST:g} s")


def seconds_of(utterance: Utterance) -> float:
    """How long an utterance lasts. Raises `RecordError` if only its file can tell, and cannot."""
    if utterance.seconds is not None:
        return utterance.seconds
    audio = utterance.audio
    try:
        found = soundfile.info(io.BytesIO(audio) if isinstance(audio, bytes) else audio)
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordError("unreadable audio", f"{audio if isinstance(audio, str) else 'the audio'}: {error}") from None
    return max(0.0, found.frames / found.samplerate - utterance.start)


def held_out_sets(held_out: Sequence[Records], learned: Sequence[Records]) -> dict[str, list[tuple[Records, int]]]:
    """Name of each held-out set → its records, from everywhere in their source."""
    sets = {one.mixed.name: _places(one, HELD_OUT) for one in held_out if len(one.chosen)}
    if len(sets) > 1:
        share = -(-HELD_OUT // len(sets))
        sets = {ALL: [place for one in held_out for place in _places(one, share)], **sets}
    return sets or {LEARNED: [place for one in learned for place in _places(one, HELD_OUT)]}


def _places(records: Records, count: int) -> list[tuple[Records, int]]:
    return [(records, record) for record in spread(len(records.chosen), count)]


def transcripts(learned: Sequence[tuple[MixSource, np.ndarray]]) -> Iterator[str]:
    """The transcripts that are learned from, of at most `TRANSCRIPTS` records from everywhere in the sources; those of
    bad records are left out."""
    total = max(sum(len(chosen) for _, chosen in learned), TRANSCRIPTS)
    places = [
        (mixed, int(chosen[record]))
        for mixed, chosen in learned
        for record in spread(len(chosen), -(-TRANSCRIPTS * len(chosen) // total))
    ]
    hidden = not is_main_process() or len(places) < SHOWN
    for mixed, number in tqdm(places, "reading transcripts", unit=" records", disable=hidden, mininterval=1.0):
        try:
            yield mixed.source[number].text
        except RecordError:
            continue
