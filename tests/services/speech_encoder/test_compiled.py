"""Compiled, the speech encoder hears the same: letters, and embeddings within 1e-4, with pauses and beside others."""

from pathlib import Path

import pytest
import torch

from parley.checkpoints import load_model
from parley.media.audio import read_audio
from parley.models.filter_bank import fbank
from parley.models.speech_streaming import SpeechStream
from services.speech_encoder.backends.compiled import CompiledBackend
from services.speech_encoder.backends.local import LocalBackend, local_backend
from services.speech_encoder.settings import SpeechEncoderSettings

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def nano():
    model = load_model(ROOT / "checkpoints" / "nano", ["speech_encoder", "speech_adapter", "ctc_head"])
    rate = model.config.speech.sample_rate
    return model, fbank(read_audio(ROOT / "examples" / "question.wav", rate), model.config.speech)


def backend(model, **fields):
    settings = SpeechEncoderSettings(device="cpu", dtype="float32", threads=1, max_utterances=3, **fields)
    return local_backend(model, settings)


def hear(model, features, runner) -> list[tuple[str, bool, torch.Tensor]]:
    """One utterance with a pause, and a shorter one that takes the slot of a third that was given up."""
    stream, outputs = SpeechStream(runner, model.config.speech, capacity=3), []
    slots = [stream.open(), stream.open()]
    stream.feed(slots[1], features[:100])
    stream.step()
    stream.close(slots[1])
    slots[1] = stream.open()
    stream.feed(slots[0], features[:70])
    stream.pause(slots[0])
    stream.feed(slots[1], features[20:])
    stream.finish(slots[1])
    while stream.ready():
        outputs += sorted(stream.step().items())
    stream.feed(slots[0], features[70:])
    stream.finish(slots[0])
    while stream.ready():
        outputs += sorted(stream.step().items())
    return [(output.transcript, output.tail, output.embeddings) for _, output in outputs]


def test_the_same_letters_and_embeddings(nano):
    model, features = nano
    compiled = backend(model, runtime="onnxruntime")
    assert isinstance(compiled, CompiledBackend) and compiled.slot_bytes > 0
    wanted, found = (hear(model, features, runner) for runner in (backend(model, runtime="torch"), compiled))
    assert [each[:2] for each in found] == [each[:2] for each in wanted]
    assert wanted[-1][0].count(" ") >= 3 and any(tail for _, tail, _ in wanted)
    for (*_, got), (*_, want) in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_other_chunks_than_those_of_the_graph_run_in_torch(nano):
    assert isinstance(backend(nano[0], chunk_size=5), LocalBackend)
    assert isinstance(backend(nano[0], chunk_size=-1), LocalBackend)
    with pytest.raises(ValueError, match="`parley export graphs` writes it"):
        backend(nano[0], chunk_size=5, runtime="onnxruntime")
    with pytest.raises(ValueError, match="no fixed step to export; choose a chunk size"):
        backend(nano[0], chunk_size=-1, runtime="onnxruntime")
