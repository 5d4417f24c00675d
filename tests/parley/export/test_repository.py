"""A written model repository: its configuration is Triton's, and its ONNX computes what the library does."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from parley.checkpoints import Checkpoint, load_model
from parley.checkpoints.writer import save_stage
from parley.config import ParleyConfig, SpeechConfig, preset
from parley.export.configuration import Batching, as_text, model_config
from parley.export.networks import NEXT
from parley.export.repository import write_speech, write_vision
from parley.export.signature import SpeechChunks, speech_signature, vision_signature
from parley.models.filter_bank import MelFrames, fbank
from parley.models.parley import Parley
from parley.models.speech_step import Encoded, SlotSteps, padded, reach
from parley.models.speech_streaming import SpeechStream

CHUNKS = SpeechChunks(chunk_size=3, left_chunks=2, max_seconds=60.0)


@pytest.fixture(scope="module")
def published(tiny_config: ParleyConfig, tiny_tokenizer, tmp_path_factory) -> Path:
    """A checkpoint that computes as the published model does: absolute positions, no convolution, batch norm."""
    speech = SpeechConfig(
        conv_channels=8, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, ctc_alphabet=" abc"
    )
    config = tiny_config.model_copy(update={"speech": speech})
    torch.manual_seed(1)
    model = Parley(config, ["speech_encoder", "speech_adapter", "ctc_head"]).eval()
    torch.nn.init.normal_(model.ctc_head.project.weight)
    torch.nn.init.uniform_(model.speech_adapter.norm.running_var, 0.5, 2.0)
    path = tmp_path_factory.mktemp("published") / "checkpoint"
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(path, stage="random", config=config, parts=parts, tokenizer=tiny_tokenizer)
    return path


class OnnxSteps:
    """Runs a written speech encoder and hands its states from call to call, as Triton does."""

    transcribes, slot_bytes = True, 0

    def __init__(self, path: Path, chunk_size: int, width: int):
        self.session = onnxruntime.InferenceSession(str(path / "1" / "model.onnx"))
        self.chunk_size, self.width = chunk_size, width
        outputs = [output.name for output in self.session.get_outputs()]
        self.outputs = [name for name in outputs if not name.startswith(NEXT)]
        self.zeros = {
            each.name: np.zeros(each.shape[1:], np.int64 if "int64" in each.type else np.float32)
            for each in self.session.get_inputs()
            if NEXT + each.name in outputs
        }
        self.states = {}

    def open(self, slot: int) -> None:
        self.states[slot] = self.zeros

    def close(self, slot: int) -> None:
        del self.states[slot]

    def run(self, chunks) -> list[Encoded]:
        feed = {
            "features": np.stack([padded(chunk.features, reach(self.chunk_size)).numpy() for chunk in chunks]),
            "counts": np.array([[chunk.count] for chunk in chunks]),
            "last": np.array([[chunk.last] for chunk in chunks]),
        }
        feed |= {name: np.stack([self.states[chunk.slot][name] for chunk in chunks]) for name in self.zeros}
        names = [*self.outputs, *(NEXT + name for name in self.zeros)]
        found = dict(zip(names, self.session.run(names, feed), strict=True))
        for i, chunk in enumerate(chunks):
            self.states[chunk.slot] = {name: found[NEXT + name][i] for name in self.zeros}
        return [self.of(found, i, chunk.count) for i, chunk in enumerate(chunks)]

    def of(self, found: dict[str, np.ndarray], i: int, count: int) -> Encoded:
        embeddings = found["embeddings"][i, : found["lengths"][i, 0]]
        return Encoded(torch.from_numpy(embeddings), found["ids"][i, :count].tolist())


def outputs_of(runner, config: SpeechConfig, waveforms: list[np.ndarray]) -> list[tuple[torch.Tensor, str]]:
    """Streams the utterances side by side, in steps of at most three, with pauses. Also what the pauses gave."""
    stream = SpeechStream(runner, config, capacity=len(waveforms))
    slots, mel_frames = [stream.open() for _ in waveforms], [MelFrames(config) for _ in waveforms]
    found, texts, tails = {slot: [] for slot in slots}, {}, []
    for start in range(0, max(map(len, waveforms)), 2500):
        for slot, mel, waveform in zip(slots, mel_frames, waveforms, strict=True):
            if start < len(waveform):
                stream.feed(slot, mel.feed(waveform[start : start + 2500]))
                if start + 2500 >= len(waveform):
                    stream.finish(slot)
                elif start % 3 == 0:
                    stream.pause(slot)
        while stream.ready():
            for slot, output in stream.step(limit=3).items():
                if output.tail:
                    tails.append((output.embeddings, output.transcript))
                else:
                    found[slot].append(output.embeddings)
                    texts[slot] = output.transcript
    return [*((torch.cat(found[slot]), texts[slot]) for slot in slots), *tails]


@pytest.mark.parametrize("source", ["tiny_checkpoint", "published"])
def test_the_speech_encoder_computes_what_the_library_does(source, request, tmp_path):
    checkpoint = Checkpoint.open(request.getfixturevalue(source))
    path = write_speech(checkpoint, tmp_path / "models", CHUNKS)
    model = load_model(checkpoint, ["speech_encoder", "speech_adapter", "ctc_head"])
    config = checkpoint.config.speech
    rng = np.random.default_rng(0)
    waveforms = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in (20_000, 1500, 5 * 1920 + 720, 31_000)]
    parts = (model.speech_encoder, model.speech_adapter, model.ctc_head)
    local = SlotSteps(*parts, capacity=4, chunk_size=CHUNKS.chunk_size, left_chunks=CHUNKS.left_chunks)
    wanted = outputs_of(local, config, waveforms)
    got = outputs_of(OnnxSteps(path, CHUNKS.chunk_size, local.width), config, waveforms)
    assert len(got) > len(waveforms)
    for (found, text), (expected, words) in zip(got, wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert text == words
    assert [len(found) for found, _ in got[: len(waveforms)]] == [whole_length(model, each) for each in waveforms]


@torch.inference_mode()
def whole_length(model: Parley, waveform: np.ndarray) -> int:
    """Embeddings of the utterance encoded whole."""
    features = fbank(waveform, model.config.speech)[None]
    frames, lengths = model.speech_encoder(features, torch.tensor([features.shape[1]]))
    return int(model.speech_adapter(frames, lengths)[1])


@torch.inference_mode()
def test_the_vision_encoder_computes_what_the_library_does(tiny_checkpoint, tmp_path):
    checkpoint = Checkpoint.open(tiny_checkpoint)
    path = write_vision(checkpoint, tmp_path / "models")
    model = load_model(checkpoint, ["vision_encoder", "vision_adapter"])
    session = onnxruntime.InferenceSession(str(path / "1" / "model.onnx"))
    for count in (1, 5):
        pixels = torch.randn(count, 3, 32, 32)
        (found,) = session.run(["embeddings"], {"pixels": pixels.numpy()})
        wanted = model.vision_adapter(model.vision_encoder(pixels))
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="is there already; remove it first"):
        write_vision(checkpoint, tmp_path / "models")
    assert [each.name for each in tmp_path.iterdir()] == ["models"]  # no draft is left


def parsed(config: pb.ModelConfig) -> pb.ModelConfig:
    return text_format.Parse(as_text(config), pb.ModelConfig())


def test_the_configuration_of_the_large_model():
    config = preset("vita-7b")
    vision = parsed(model_config(vision_signature(config, "w"), "onnxruntime", Batching()))
    assert (vision.name, vision.backend, vision.max_batch_size) == ("vision_encoder-w", "onnxruntime", 32)
    assert list(vision.input[0].dims) == [3, 448, 448] and list(vision.output[0].dims) == [256, 3584]
    assert vision.HasField("dynamic_batching") and vision.parameters["weights"].string_value == "w"
    chunks = SpeechChunks.chosen(config.speech, None, None, 60.0)
    signature = speech_signature(config, "w", chunks, transcribes=True, dtype="float16")
    assert 25e6 < signature.state_bytes < 26e6
    speech = parsed(model_config(signature, "onnxruntime", Batching()))
    states = {state.input_name: state for state in speech.sequence_batching.state}
    assert list(states["key"].dims) == [24, 16, 256, 64] and states["key"].data_type == pb.TYPE_FP16
    assert "conv" not in states  # this model has no convolution
    for name, state in states.items():
        assert state.output_name == NEXT + name
        assert state.initial_state[0].zero_data and state.initial_state[0].dims == state.dims
    assert not {each.name for each in speech.input} & set(states)  # a state is no input of a caller


def test_the_python_backend_keeps_the_state_itself():
    signature = speech_signature(preset("nano"), "w", CHUNKS, transcribes=False)
    config = parsed(model_config(signature, "python", Batching(max_sequences=7)))
    assert config.backend == "python" and not config.sequence_batching.state
    assert config.sequence_batching.oldest.max_candidate_sequences == 7
    assert [output.name for output in config.output] == ["embeddings", "lengths"]
