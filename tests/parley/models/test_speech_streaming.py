"""Fed in pieces, among others, an utterance has the same embeddings and transcript as whole."""

import numpy as np
import pytest
import torch

from parley.config import SpeechConfig, preset
from parley.models.filter_bank import MelFrames, fbank
from parley.models.speech import CtcHead, SpeechAdapter, SpeechEncoder
from parley.models.speech_step import SlotSteps
from parley.models.speech_streaming import SpeechStream

NANO = preset("nano").speech
# The published way of computing, with its kernel and norm, but in chunks.
ABSOLUTE = SpeechConfig(
    conv_channels=16, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, chunk_size=5, left_chunks=2,
    ctc_alphabet=" abc", ctc_words=("ab", "c"),
)  # fmt: skip
WIDTH = 24


def build(config: SpeechConfig):
    torch.manual_seed(3)
    encoder, adapter, head = SpeechEncoder(config), SpeechAdapter(config, WIDTH), CtcHead(config)
    encoder.mean.fill_(9.0)
    encoder.istd.fill_(0.3)
    if config.adapter_norm == "batch":
        torch.nn.init.normal_(adapter.norm.running_mean)
        torch.nn.init.uniform_(adapter.norm.running_var, 0.5, 2.0)
    torch.nn.init.normal_(head.project.weight)  # large, so that rounding changes no letter
    return encoder.eval(), adapter.eval(), head


class SampleStream(SpeechStream):
    """Is fed samples."""

    def open(self) -> int:
        slot = super().open()
        self.mel_frames = {**getattr(self, "mel_frames", {}), slot: MelFrames(self.config)}
        return slot

    def feed(self, slot: int, samples: np.ndarray) -> None:
        super().feed(slot, self.mel_frames[slot].feed(samples))


def build_stream(parts, capacity: int, max_seconds: float = 60.0, **chunks: int) -> SampleStream:
    steps = SlotSteps(*parts, capacity=capacity, max_seconds=max_seconds, **chunks)
    return SampleStream(steps, parts[0].config, capacity=capacity, max_seconds=max_seconds)


def speech(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    envelope = np.abs(np.sin(np.arange(int(seconds * 16_000)) / 3000))
    return (0.2 * envelope * rng.standard_normal(len(envelope))).astype(np.float32)


@torch.inference_mode()
def whole(parts, waveform, chunk_size, left_chunks):
    encoder, adapter, head = parts
    features = fbank(waveform, encoder.config)[None]
    frames, lengths = encoder(features, torch.tensor([features.shape[1]]), chunk_size, left_chunks)
    return adapter(frames, lengths)[0][0], head.transcribe(frames[0])


def drain(stream: SpeechStream, found: dict[int, list], limit: int | None = None) -> None:
    while stream.ready():
        for slot, output in stream.step(limit).items():
            found[slot].append(output)
            if output.done:
                stream.close(slot)


def check(outputs: list, wanted: tuple) -> None:
    embeddings, text = wanted
    got = torch.cat([output.embeddings for output in outputs])
    assert got.shape == embeddings.shape
    torch.testing.assert_close(got, embeddings, rtol=1e-4, atol=1e-4)
    assert outputs[-1].transcript == text
    assert [output.done for output in outputs] == [False] * (len(outputs) - 1) + [True]


@pytest.mark.parametrize("config", [NANO, ABSOLUTE], ids=["rotary", "absolute"])
@pytest.mark.parametrize(("chunk", "left"), [(8, 2), (5, 1), (3, 0), (7, -1), (16, 4), (-1, -1)])
def test_stream_equals_whole(config, chunk, left):
    parts = build(config)
    waveform = speech(3.337, 0)
    wanted = whole(parts, waveform, chunk, left)
    for piece in (1601, 160, 40_000):
        stream = build_stream(parts, capacity=2, chunk_size=chunk, left_chunks=left)
        slot, outputs = stream.open(), []
        for start in range(0, len(waveform), piece):
            stream.feed(slot, waveform[start : start + piece])
            while stream.ready():
                outputs.append(stream.step()[slot])
        stream.finish(slot)
        while not (outputs and outputs[-1].done):
            outputs.append(stream.step()[slot])
        check(outputs, wanted)


@pytest.mark.parametrize("config", [NANO, ABSOLUTE], ids=["rotary", "absolute"])
def test_utterances_begin_and_end_without_changing_each_other(config):
    parts = build(config)
    rng = np.random.default_rng(1)
    waveforms = [speech(seconds, seed) for seed, seconds in enumerate((2.0, 0.7, 3.1, 1.3, 0.111, 2.6, 1.0, 0.5))]
    wanted = [whole(parts, waveform, config.chunk_size, config.left_chunks) for waveform in waveforms]
    stream = build_stream(parts, capacity=3)
    todo, live, found = list(range(len(waveforms))), {}, {i: [] for i in range(len(waveforms))}
    while todo or live:
        while todo and stream.free_slots:
            live[stream.open()] = [todo.pop(0), 0]
        for slot, (i, at) in list(live.items()):
            piece = int(rng.integers(1, 9000))
            if not stream.states[slot].finishing:
                stream.feed(slot, waveforms[i][at : at + piece])
                live[slot][1] += piece
                if live[slot][1] >= len(waveforms[i]):
                    stream.finish(slot)
        for slot, output in stream.step(limit=int(rng.integers(1, 4))).items():
            found[live[slot][0]].append(output)
            if output.done:
                stream.close(slot)
                del live[slot]
    for i, outputs in found.items():
        check(outputs, wanted[i])


def test_an_utterance_closed_in_the_middle_leaves_no_trace():
    parts = build(NANO)
    stream = build_stream(parts, capacity=1)
    slot = stream.open()
    stream.feed(slot, speech(2.0, 7))
    stream.step()
    stream.close(slot)
    slot = stream.open()
    stream.feed(slot, speech(1.5, 8))
    stream.step()
    stream.close(slot)
    slot = stream.open()
    waveform = speech(1.9, 9)
    stream.feed(slot, waveform)
    stream.finish(slot)
    found = {slot: []}
    drain(stream, found)
    check(found[slot], whole(parts, waveform, NANO.chunk_size, NANO.left_chunks))
    assert stream.free_slots == [0]


def tail_of(outputs: list) -> tuple:
    """The last of the outputs, a tail, behind the embeddings of those before it that are none."""
    *before, tail = outputs
    assert tail.tail and not tail.done
    return torch.cat([*(output.embeddings for output in before if not output.tail), tail.embeddings]), tail.transcript


def check_tail(outputs: list, wanted: tuple) -> None:
    embeddings, text = tail_of(outputs)
    torch.testing.assert_close(embeddings, wanted[0], rtol=1e-5, atol=1e-5)
    assert text == wanted[1]


def streamed(parts, waveform, pauses: tuple[int, ...], **chunks: int) -> tuple[list, list]:
    """An utterance that pauses behind so many samples → all outputs, and for each tail those up to it."""
    stream = build_stream(parts, capacity=1, **chunks)
    slot, outputs, at_tails = stream.open(), [], []
    for start, end in zip((0, *pauses), (*pauses, len(waveform)), strict=True):
        for at in range(start, end, 1601):
            stream.feed(slot, waveform[at : min(at + 1601, end)])
        if end in pauses:
            stream.pause(slot)
        while stream.ready():
            outputs.append(stream.step()[slot])
            if outputs[-1].tail:
                at_tails.append(list(outputs))
    stream.finish(slot)
    while not (outputs and outputs[-1].done):
        outputs.append(stream.step()[slot])
    return outputs, at_tails


@pytest.mark.parametrize("config", [NANO, ABSOLUTE], ids=["rotary", "absolute"])
@pytest.mark.parametrize(("chunk", "left"), [(8, 2), (5, 1), (7, -1), (-1, -1)])
def test_a_pause_gives_what_the_end_would_and_changes_nothing(config, chunk, left):
    parts = build(config)
    waveform = speech(2.837, 0)
    pauses = (3000, 20_000, 20_100, 6 * 8 * 4 * 160 + 720, 41_000)  # the last but one: six chunks of 8 and no rest
    outputs, at_tails = streamed(parts, waveform, pauses, chunk_size=chunk, left_chunks=left)
    uninterrupted, _ = streamed(parts, waveform, (), chunk_size=chunk, left_chunks=left)
    rest = [output for output in outputs if not output.tail]
    assert [output.transcript for output in rest] == [output.transcript for output in uninterrupted]
    for output, wanted in zip(rest, uninterrupted, strict=True):
        assert torch.equal(output.embeddings, wanted.embeddings) and output.done == wanted.done
    assert len(at_tails) == len(pauses)
    for found, end in zip(at_tails, pauses, strict=True):
        ended, _ = streamed(parts, waveform[:end], (), chunk_size=chunk, left_chunks=left)
        check_tail(found, (torch.cat([output.embeddings for output in ended]), ended[-1].transcript))


@pytest.mark.parametrize("samples", [0, 100, 800])
@pytest.mark.parametrize("chunk", [8, -1, 0])
def test_a_pause_before_there_is_anything_has_an_empty_tail(samples, chunk):
    parts = build(NANO)
    stream = build_stream(parts, capacity=1, chunk_size=chunk)
    slot, waveform = stream.open(), speech(1.0, 2)
    stream.feed(slot, waveform[:samples])
    stream.pause(slot)
    output = stream.step()[slot]
    assert output.tail and output.embeddings.shape == (0, WIDTH) and output.transcript == ""
    assert not stream.ready()
    stream.feed(slot, waveform[samples:])
    stream.finish(slot)
    found = {slot: []}
    drain(stream, found)
    check(found[slot], whole(parts, waveform, chunk, -1 if chunk <= 0 else NANO.left_chunks))


def test_a_tail_comes_behind_the_backlog_and_before_what_was_said_after_it():
    parts = build(NANO)
    waveform, chunks = speech(3.0, 4), {"chunk_size": 8, "left_chunks": 2}
    stream = build_stream(parts, capacity=1, **chunks)
    slot, outputs = stream.open(), []
    stream.feed(slot, waveform[:24_000])
    stream.pause(slot)
    stream.feed(slot, waveform[24_000:])
    while stream.ready():
        outputs.append(stream.step()[slot])
    place = [output.tail for output in outputs].index(True)
    assert place == 4 and len(outputs) > 6  # 1.5 s are four whole chunks of 0.32 s and the tail
    check_tail(outputs[: place + 1], whole(parts, waveform[:24_000], 8, 2))
    stream.finish(slot)
    outputs.append(stream.step()[slot])
    check([output for output in outputs if not output.tail], whole(parts, waveform, 8, 2))


def test_a_pause_takes_the_place_of_one_that_is_not_answered_and_the_end_of_both():
    parts = build(NANO)
    waveform = speech(2.0, 5)
    stream = build_stream(parts, capacity=1)
    slot, outputs = stream.open(), []
    for part in (waveform[:9000], waveform[9000:20_000]):
        stream.feed(slot, part)
        stream.pause(slot)
    while stream.ready():
        outputs.append(stream.step()[slot])
    assert [output.tail for output in outputs].count(True) == 1
    check_tail(outputs, whole(parts, waveform[:20_000], NANO.chunk_size, NANO.left_chunks))
    stream.pause(slot)
    stream.feed(slot, waveform[20_000:])
    stream.finish(slot)
    while not outputs[-1].done:
        outputs.append(stream.step()[slot])
    assert [output.tail for output in outputs].count(True) == 1


def test_tails_and_chunks_of_others_share_a_step():
    parts = build(NANO)
    waveforms = [speech(1.9, seed) for seed in range(3)]
    stream = build_stream(parts, capacity=3, chunk_size=8, left_chunks=2)
    slots = [stream.open() for _ in waveforms]
    for slot, waveform in zip(slots, waveforms, strict=True):
        stream.feed(slot, waveform[:8000])
    stream.step()
    for slot, waveform in zip(slots, waveforms, strict=True):
        stream.feed(slot, waveform[8000:10_000] if slot == slots[1] else waveform[8000:])
    stream.pause(slots[1])
    assert [output.tail for output in stream.step().values()] == [False, True, False]
    stream.feed(slots[1], waveforms[1][10_000:])
    found = {slot: [] for slot in slots}
    for slot in slots:
        stream.finish(slot)
    drain(stream, found)
    for slot, waveform in zip(slots, waveforms, strict=True):
        embeddings, text = whole(parts, waveform, 8, 2)
        got = torch.cat([output.embeddings for output in found[slot]])
        torch.testing.assert_close(got, embeddings[-len(got) :], rtol=1e-4, atol=1e-4)
        assert found[slot][-1].transcript == text


def test_state_does_not_grow():
    parts = build(NANO)
    stream = build_stream(parts, capacity=1, max_seconds=200)
    slot = stream.open()
    for second in range(20):
        stream.feed(slot, speech(1.0, second))
        while stream.ready():
            stream.step()
        state = stream.states[slot]
        assert len(state.features) < 4 * NANO.chunk_size + 7
        assert state.features.untyped_storage().nbytes() < 2 * 80 * 4 * (4 * NANO.chunk_size + 7)
    assert stream.runner.slot_bytes == 4 * (4 * (2 * 192 * 128 + 4 * 128 + 14 * 192) + 2 * 192)


def test_the_utterance_that_waited_longest_is_served_first():
    parts = build(NANO)
    stream = build_stream(parts, capacity=3)
    slots = [stream.open() for _ in range(3)]
    for slot in slots:
        stream.feed(slot, speech(2.0, slot))
    served = [next(iter(stream.step(limit=1))) for _ in range(6)]
    assert sorted(served[:3]) == sorted(slots) and served[:3] == served[3:]


def test_limits_are_named_and_silence_ends():
    parts = build(NANO)
    stream = build_stream(parts, capacity=1, max_seconds=1.0)
    slot = stream.open()
    with pytest.raises(ValueError, match="all 1 slots are taken"):
        stream.open()
    with pytest.raises(ValueError, match="longer than 1 s"):
        stream.feed(slot, speech(1.1, 0))
    stream.close(slot)
    slot = stream.open()
    stream.feed(slot, speech(0.05, 0))
    stream.finish(slot)
    output = stream.step()[slot]
    assert output.done and output.embeddings.shape == (0, WIDTH) and output.transcript == ""
    assert not stream.ready() and stream.step() == {}
