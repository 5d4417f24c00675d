"""Manifests that lhotse itself has written: cuts, and supervisions beside recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource

from training.data.media import read_utterance
from training.data.records import RecordError
from training.data.source import Utterance
from training.data.sources.speech import open_speech


@pytest.fixture
def recording(tmp_path) -> Recording:
    stereo = np.stack([np.full(32_000, 0.25), np.full(32_000, -0.5)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 16_000)
    return Recording.from_file(tmp_path / "a.wav", recording_id="rec")


def said(start=0.5, duration=1.0, channel=0, text="hello", speaker="ann", name="u1") -> SupervisionSegment:
    return SupervisionSegment(name, "rec", start, duration, channel, text, speaker=speaker)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_supervisions_beside_their_recordings(tmp_path, recording, ending):
    RecordingSet.from_recordings([recording]).to_file(tmp_path / f"corpus_recordings_dev.{ending}")
    supervisions = [said(), said(0, 2, [0, 1], "bye", None, "u2")]
    SupervisionSet.from_segments(supervisions).to_file(tmp_path / f"corpus_supervisions_dev.{ending}")
    expected = [
        Utterance(str(tmp_path / "a.wav"), "hello", "ann", 0.5, 1.0, "u1", 0),
        Utterance(str(tmp_path / "a.wav"), "bye", "", 0.0, 2.0, "u2"),
    ]
    for path in (tmp_path, tmp_path / f"corpus_supervisions_dev.{ending}"):
        source = open_speech(path)
        assert [source[i] for i in range(len(source))] == expected
    assert source.where(0) == f"corpus_supervisions_dev.{ending}:1 (id u1)"
    assert source.group(0) == "ann" and source.group(1) == str(tmp_path / "a.wav")
    assert np.allclose(read_utterance(source[0], 16_000), 0.25)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_cuts(tmp_path, recording, ending):
    cuts = CutSet.from_cuts([MonoCut("c1", 0.25, 1.5, 1, [said(0.0, 1.5, 1)], recording=recording.resample(8_000))])
    cuts.to_file(tmp_path / f"cuts_train.{ending}")
    source = open_speech(tmp_path)
    assert source[0] == Utterance(str(tmp_path / "a.wav"), "hello", "ann", 0.25, 1.5, "c1", 1)
    assert np.allclose(read_utterance(source[0], 16_000), -0.5)


def test_relative_paths_start_from_media(tmp_path, recording):
    recording.sources[0].source = "wavs/a.wav"
    CutSet.from_cuts([MonoCut("c1", 0, 1, 0, [said()], recording=recording)]).to_file(tmp_path / "cuts.jsonl")
    assert Path(open_speech(tmp_path, media="/x").entry(0).audio) == Path("/x/wavs/a.wav")


def stored(source: AudioSource) -> Recording:
    return Recording("rec", [source], 16_000, 32_000, 2.0, channel_ids=[0])


def test_bad_cuts_are_bad_when_they_are_read(tmp_path, recording):
    touched = tmp_path / "touched"
    command, lost = AudioSource("command", [0], f"touch {touched}"), AudioSource("file", [0], "none.wav")
    cuts = {
        "changed audio": MonoCut("c", 0, 1, 0, [said()], recording=recording.perturb_speed(1.1)),
        "not one supervision": MonoCut("c", 0, 1, 0, [said(), said(name="u2")], recording=recording),
        "no audio": MonoCut("c", 0, 1, 0, [said()]),
        "no such channel": MonoCut("c", 0, 1, 5, [said()], recording=recording),
        "empty text": MonoCut("c", 0, 1, 0, [said(text=None)], recording=recording),
        "not a file": MonoCut("c", 0, 1, 0, [said()], recording=stored(command)),
        "missing file": MonoCut("c", 0, 1, 0, [said()], recording=stored(lost)),
    }
    CutSet.from_cuts(cuts.values()).to_file(tmp_path / "cuts.jsonl")
    mixed = MonoCut("c", 0, 1, 0, [said()], recording=recording).pad(3.0)
    CutSet.from_cuts([mixed]).to_file(tmp_path / "more.jsonl")
    with (tmp_path / "cuts.jsonl").open("a") as file:
        file.write((tmp_path / "more.jsonl").read_text() + '{"type": "MonoCut", "recording": 3}\n{"x"\n')
    source, found = open_speech(tmp_path), []
    assert len(source) == len(cuts) + 3
    for index in range(len(source)):
        with pytest.raises(RecordError) as error:
            source[index]
        found.append(error.value.reason)
        assert source.where(index).startswith(f"cuts.jsonl:{index + 1}") and isinstance(source.group(index), str)
    assert found == [*cuts, "not of lhotse", "not of lhotse", "not JSON"] and not touched.exists()


def test_a_supervision_without_its_recording(tmp_path, recording):
    RecordingSet.from_recordings([recording]).to_file(tmp_path / "recordings.jsonl")
    lost = SupervisionSegment("u1", "other", 0, 1, 0, "hello")
    SupervisionSet.from_segments([lost]).to_file(tmp_path / "supervisions.jsonl")
    with pytest.raises(RecordError, match=r"recordings\.jsonl has no recording other"):
        open_speech(tmp_path)[0]
    (tmp_path / "recordings.jsonl").unlink()
    with pytest.raises(ValueError, match="needs the recordings"):
        open_speech(tmp_path)


def test_a_folder_must_say_which_manifest(tmp_path, recording):
    with pytest.raises(ValueError, match="no speech in a format"):
        open_speech(tmp_path)
    for name in ("cuts_train.jsonl", "cuts_dev.jsonl"):
        CutSet.from_cuts([MonoCut("c1", 0, 1, 0, [said()], recording=recording)]).to_file(tmp_path / name)
    with pytest.raises(ValueError, match=r"found: cuts_dev\.jsonl, cuts_train\.jsonl"):
        open_speech(tmp_path)
    assert len(open_speech(tmp_path / "cuts_dev.jsonl")) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start": "soon"}, "bad time"),
        ({"duration": 1e308}, "bad time"),
        ({"channel": None}, "no such channel"),
        ({"channel": []}, "no such channel"),
        ({"channel": [[0]]}, "not of lhotse"),
        ({"supervisions": 3}, "not of lhotse"),
        ({"supervisions": [{"id": "u1", "recording_id": "rec", "start": 0, "duration": 1, "text": 7}]}, "no text"),
        ({"recording": {"id": "rec", "sources": [{"type": "file", "channels": [0], "source": 5}]}}, "not of lhotse"),
    ],
)
def test_fields_of_wrong_types_are_bad_records(tmp_path, recording, change, reason):
    cut = MonoCut("c1", 0, 1, 0, [said()], recording=recording).to_dict() | change
    (tmp_path / "cuts.jsonl").write_text(json.dumps(cut) + "\n")
    source = open_speech(tmp_path)
    with pytest.raises(RecordError) as error:
        source[0]
    assert error.value.reason == reason and source.group(0) in ("ann", "")
