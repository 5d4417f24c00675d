"""Checks one record as training will read it, and measures it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from parley.config import ParleyConfig
from parley.media.image import tile_grid
from training.data.checking.findings import Findings
from training.data.checking.whole import check_audio, check_video
from training.data.heldout import group_hash
from training.data.media import describe, open_sample, read_utterance
from training.data.mix import SPEECH, MixSource
from training.data.own_speech import check_seconds, lowest_rate
from training.data.records import Bad
from training.data.sample import Sample, parts, text_of, turn_states
from training.data.sample_length import SampleLength
from training.data.source import Utterance


@dataclass(frozen=True)
class RecordCheck:
    """Checks records of one source.

    Args:
        length: counts tokens; None: they are not counted.
        longest: tokens of a good record, at most.
        decode: whether media are read at all.
    """

    mixed: MixSource
    config: ParleyConfig
    length: SampleLength | None = None
    longest: int = 0
    decode: bool = True

    def range(self, start: int, stop: int) -> Findings:
        """What is found in records `start` … `stop` - 1."""
        found = Findings()
        for index in range(start, stop):
            try:
                found.merge(self.record(index))
            except ValueError as error:
                self._add_bad(found, index, getattr(error, "reason", "unreadable"), str(error))
            except Exception as error:  # a decoder's own: it must not end the check of all other records
                self._add_bad(found, index, "unreadable", f"{type(error).__name__}: {error}")
        return found

    def record(self, index: int) -> Findings:
        """What is found in a record that can be read. Raises `ValueError` for another."""
        read = self.mixed.source[index]
        found = self.utterance(read) if self.mixed.kind in SPEECH else self.dialogue(read)
        if any(tokens > self.longest for tokens in found.tokens):
            detail = f"too long: {found.tokens[0]:,} tokens; a sequence holds {self.longest:,} (--sequence-length)"
            self._add_bad(found, index, "too long", detail)
            return found
        found.good = 1
        found.indices.append(index)
        found.hashes.append(content_hash(read))
        found.groups.append(group_hash(self.mixed.source.group(index)))
        return found

    def dialogue(self, sample: Sample) -> Findings:
        found, states = Findings(), turn_states(sample.messages)
        answers = [text_of(message) for message in sample.messages if message["role"] == "assistant"]
        found.answers, found.refusals = len(states), states.count("nothing")
        found.without_text = sum(not answer.strip() for answer in answers)
        found.turns.append(len(states))
        found.characters.append(sum(len(text_of(message)) for message in sample.messages))
        found.sets[sample.task] += 1
        found.media.update(part["type"] for part in media_parts(sample))
        if missing := lacks(self.mixed.kind, found):
            found.remarks[missing] += 1
        if self.decode:
            opened = open_sample(sample, self.config)
            for part, decoded in zip(media_parts(sample), media_parts(opened), strict=True):
                self._measure(found, part, decoded)
            self._count_tokens(found, opened)
        return found

    def utterance(self, utterance: Utterance) -> Findings:
        found = Findings(media=Counter(audio=1))
        found.characters.append(len(utterance.text))
        if not self.decode:
            return found
        check_seconds(utterance)
        if utterance.seconds is None:
            check_audio(utterance.audio, describe(utterance))
        if self.mixed.kind == "speech":  # what the codec and the speech decoder learn from
            rate = self.config.codec.sample_rate
            audio = read_utterance(utterance, rate, lowest_rate=lowest_rate(rate))
        else:
            rate = self.config.speech.sample_rate
            audio = read_utterance(utterance, rate)
            asked = {"role": "user", "content": [{"type": "audio", "audio": audio}]}
            answer = {"role": "assistant", "content": utterance.text}
            self._count_tokens(found, Sample([asked, answer], "transcription"))
        found.seconds.append(len(audio) / rate)
        return found

    def _measure(self, found: Findings, part: dict, decoded: dict) -> None:
        kind, name = part["type"], str(part.get("name") or part[part["type"]])
        match kind:
            case "image":
                width, height = decoded[kind].size
                columns, rows = tile_grid(width, height, self.config.vision)
                found.widths.append(width)
                found.heights.append(height)
                found.tiles[columns * rows + (columns * rows > 1)] += 1
            case "video":
                found.frames.append(check_video(part[kind], name))
            case "audio":
                check_audio(part[kind], name)
                found.seconds.append(len(decoded[kind]) / self.config.speech.sample_rate)

    def _count_tokens(self, found: Findings, sample: Sample) -> None:
        if self.length is not None:
            found.tokens.append(self.length(sample))

    def _add_bad(self, found: Findings, index: int, reason: str, detail: str) -> None:
        found.add_bad(Bad(self.mixed.source.where(index), "", reason, detail))


def lacks(kind: str, found: Findings) -> str:
    """What a dialogue should have by the kind of its source and does not, or the reverse; "" for nothing."""
    match kind:
        case "captions" if not found.media["image"] + found.media["video"]:
            return "without a picture or video"
        case "spoken_questions" | "cut_questions" if not found.media["audio"]:
            return "without speech"
        case "negatives" | "cut_questions" if not found.refusals:
            return "without an answer that is refused (inserted_id)"
        case "text" if found.media:
            return "with media"
    return ""


def media_parts(sample: Sample) -> list[dict]:
    """The media of a sample, in order."""
    return [part for message in sample.messages for part in parts(message["content"]) if part["type"] != "text"]


def content_hash(read: Sample | Utterance) -> int:
    """64 bits of what a record says, its id included."""
    digest = blake2b(digest_size=8)
    for piece in said(read):
        data = piece if isinstance(piece, bytes) else str(piece).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return int.from_bytes(digest.digest(), "big")


def said(read: Sample | Utterance) -> Iterator[Any]:
    if isinstance(read, Utterance):
        yield from (read.audio, read.start, read.seconds, read.channel, read.text, read.id)
        return
    yield from (read.task, read.about.get("id"))
    for message in read.messages:
        yield from flat(message["role"], message.get("state"), parts(message["content"]))


def flat(role: str, state: str | None, content: Iterable[dict]) -> Iterator[Any]:
    yield from (role, state)
    for part in content:
        yield from (part["type"], part[part["type"]])
