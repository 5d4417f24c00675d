"""Media of samples and utterances: what a path or the bytes of a file hold, and what cannot be read is named.

Of an utterance its span is read and nothing else, from any usual file, at any rate.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from parley.media.audio import resample
from training.data import media
from training.data.media import open_sample, read_utterance
from training.data.record_error import RecordError
from training.data.record_writer import write_audio, write_video
from training.data.sample import Sample
from training.data.source import Utterance


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def steps(rate: int) -> np.ndarray:
    """Three seconds of 440, 880 and 1760 Hz."""
    return np.concatenate([tone(1, rate, hertz) for hertz in (440.0, 880.0, 1760.0)])


def pitch(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency, Hz."""
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[np.abs(np.fft.rfft(samples)).argmax()])


@pytest.mark.parametrize(
    ("format", "subtype", "rate"),
    [
        ("WAV", "PCM_16", 44_100),
        ("FLAC", "PCM_16", 16_000),
        ("MP3", "MPEG_LAYER_III", 24_000),
        ("OGG", "VORBIS", 24_000),
        ("OGG", "OPUS", 48_000),
    ],
)
def test_the_span_of_any_file(tmp_path, format, subtype, rate):
    path = tmp_path / f"a.{format.lower()}"
    soundfile.write(path, np.stack([steps(rate)] * 2, axis=1), rate, format=format, subtype=subtype)
    read = read_utterance(Utterance(str(path), "x", start=1.25, seconds=0.5), 16_000)
    assert read.dtype == np.float32 and abs(len(read) - 8000) <= 1
    assert abs(pitch(read, 16_000) - 880) < 5
    whole = read_utterance(Utterance(path.read_bytes(), "x"), 16_000)
    assert abs(len(whole) / 16_000 - 3) < 0.1
    assert np.abs(read[200:7800] - whole[20_200:27_800]).max() < 1e-3  # MP3: its first frames too
    rest = read_utterance(Utterance(str(path), "x", start=2.25), 24_000)
    assert abs(pitch(rest, 24_000) - 1760) < 5


def test_a_span_reads_its_own_part_only(tmp_path, monkeypatch):
    path, counted = tmp_path / "a.wav", []
    soundfile.write(path, np.zeros(16_000 * 60), 16_000)
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda f, n, **k: (counted.append(n), read(f, n, **k))[1])
    read_utterance(Utterance(str(path), "x", start=30, seconds=2), 16_000)
    assert counted == [32_000]


def test_a_whole_file_is_what_resampling_gives(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(0.7, 16_000), 16_000)
    expected = resample(soundfile.read(path, dtype="float32")[0], 16_000, 24_000)
    assert np.array_equal(read_utterance(Utterance(str(path), "x"), 24_000), expected)


def test_one_channel_of_two(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([tone(1, 16_000), np.zeros(16_000)], axis=1), 16_000)
    assert not read_utterance(Utterance(str(path), "x", channel=1), 16_000).any()
    assert abs(np.abs(read_utterance(Utterance(str(path), "x", channel=0), 16_000)).max() - 0.5) < 1e-3
    assert abs(np.abs(read_utterance(Utterance(str(path), "x"), 16_000)).max() - 0.25) < 1e-3
    with pytest.raises(RecordError, match="2 channels and no channel 2"):
        read_utterance(Utterance(str(path), "x", channel=2), 16_000)


@pytest.fixture
def second(tmp_path) -> Path:
    soundfile.write(tmp_path / "a.wav", tone(1, 16_000), 16_000)
    return tmp_path / "a.wav"


@pytest.mark.parametrize(
    ("start", "seconds", "reason"),
    [
        (0.5, 1.0, "span outside the file"),
        (1.5, None, "span outside the file"),
        (-0.5, 1.0, "span outside the file"),
        (0.5, 0.0, "empty span"),
        (0.5, 1e-6, "empty span"),
    ],
)
def test_a_span_that_is_not_there(second, start, seconds, reason):
    with pytest.raises(RecordError, match=r"a\.wav from ") as error:
        read_utterance(Utterance(str(second), "x", start=start, seconds=seconds), 16_000)
    assert error.value.reason == reason


def test_a_rounded_end_is_the_end_of_the_file(second):
    assert len(read_utterance(Utterance(str(second), "x", start=0.5, seconds=0.55), 16_000)) == 8000


def test_what_is_no_speech_is_named(tmp_path, second, monkeypatch):
    def reason(audio) -> str:
        with pytest.raises(RecordError) as error:
            read_utterance(Utterance(audio, "x"), 16_000)
        return str(error.value)

    assert "missing file" in reason(str(tmp_path / "none.wav")) and "none.wav" in reason(str(tmp_path / "none.wav"))
    (tmp_path / "text.wav").write_text("no sound")
    assert "unreadable audio" in reason(str(tmp_path / "text.wav")) and "text.wav" in reason(str(tmp_path / "text.wav"))
    flac = io.BytesIO()
    soundfile.write(flac, np.random.default_rng(0).uniform(-1, 1, 50_000), 16_000, format="FLAC")
    (tmp_path / "cut.flac").write_bytes(flac.getvalue()[:40_000])
    assert "unreadable audio" in reason(str(tmp_path / "cut.flac"))
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 16_000, subtype="FLOAT")
    assert "no numbers" in reason(str(tmp_path / "nan.wav"))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    assert "the file lasts 0.00 s" in reason(str(tmp_path / "empty.wav"))
    monkeypatch.setattr(media, "LONGEST", 0.5)
    assert "too long" in reason(str(second))


def test_speech_of_a_lower_rate_than_needed_is_refused(second):
    assert len(read_utterance(Utterance(str(second), "x"), 24_000)) == 24_000
    with pytest.raises(RecordError, match="16000 Hz; at least 22050 Hz") as error:
        read_utterance(Utterance(str(second), "x"), 24_000, lowest_rate=22_050)
    assert error.value.reason == "too low a sample rate"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict:
    folder, source = tmp_path_factory.mktemp("media"), np.random.default_rng(0)
    pictures = [Image.fromarray(source.integers(0, 255, (32, 48, 3), dtype=np.uint8)) for _ in range(4)]
    paths = {"image": folder / "a.png", "audio": folder / "q.wav", "video": folder / "v.mp4"}
    pictures[0].save(paths["image"])
    write_audio(paths["audio"], np.sin(np.arange(1600, dtype=np.float32)))
    write_video(paths["video"], pictures)
    return paths


def sample(kind: str, value, **more) -> Sample:
    content = [{"type": kind, kind: value, **more}, {"type": "text", "text": "what?"}]
    return Sample([{"role": "user", "content": content}, {"role": "assistant", "content": "a cat."}], "records")


def opened(kind: str, value, config, **more):
    return open_sample(sample(kind, value, **more), config).messages[0]["content"][0][kind]


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_a_path_and_the_bytes_of_the_file_give_the_same(files, tiny_config, kind):
    path = files[kind]
    first, second = opened(kind, str(path), tiny_config), opened(kind, path.read_bytes(), tiny_config, name="inside")
    if kind == "video":
        assert [frame.size for frame in first] == [(48, 32)] * 4
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_the_sample_itself_keeps_its_paths(files, tiny_config):
    before = sample("image", str(files["image"]))
    after = open_sample(before, tiny_config)
    assert before.messages[0]["content"][0]["image"] == str(files["image"])
    assert after.messages[1:] == before.messages[1:] and after.messages[0]["content"][1] == {
        "type": "text",
        "text": "what?",
    }


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_a_file_that_is_cut_short_or_none_is_named(files, tiny_config, tmp_path, kind):
    data = files[kind].read_bytes()
    for content in (data[: len(data) // 3] if kind != "audio" else b"RIFF", b"words", b""):
        path = tmp_path / f"broken-{kind}"
        path.write_bytes(content)
        with pytest.raises(RecordError, match=f"unreadable {kind}: .*broken-{kind}"):
            opened(kind, str(path), tiny_config)
        with pytest.raises(RecordError, match=f"unreadable {kind}: inside.tar"):
            opened(kind, content, tiny_config, name="inside.tar")
    with pytest.raises(RecordError, match=f"unreadable {kind}: .*missing"):
        opened(kind, str(tmp_path / "missing"), tiny_config)


def test_a_sound_that_promises_to_last_for_hours_is_not_read(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(media, "LONGEST", 0.5)
    soundfile.write(tmp_path / "long.wav", tone(1, 16_000), 16_000)
    with pytest.raises(RecordError, match=r"unreadable audio: .*long\.wav.* lasts 1\.0 s; at most 0\.5 s"):
        opened("audio", str(tmp_path / "long.wav"), tiny_config)
