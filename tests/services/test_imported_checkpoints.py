"""Checkpoints that began elsewhere: imported or initialised, the four services serve them as they are."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import InternVLVisionConfig, InternVLVisionModel, Qwen2Config, Qwen2ForCausalLM

from parley.checkpoints import Checkpoint, load_model
from parley.checkpoints.importers.qwen_internvit import init_pretrained
from parley.checkpoints.importers.vita15 import import_published
from parley.config import STATES, preset
from parley.media.audio import to_pcm16
from parley.media.messages import read_media
from protos.parley.v1 import language_model_pb2, speech_decoder_pb2, speech_encoder_pb2, tensor_pb2, vision_encoder_pb2
from services.llm_core.service import LlmCoreService
from services.llm_core.settings import LlmCoreSettings
from services.registry import SERVICES, import_path
from services.rpc import tensors
from services.rpc.server import start_server

FIXTURE = Path(__file__).parents[1] / "fixtures" / "vita15-tiny"
SMALL = {  # caches are allocated for the most there may be
    "llm_core": {"num_slots": 2},
    "speech_encoder": {"max_utterances": 2},
    "speech_decoder": {"max_batch": 2, "max_clause_seconds": 1.0},
}


def filled(tokenizer: Tokenizer, size: int) -> Tokenizer:
    """A copy in which every id up to `size` is a word: models of random weights write any of them."""
    full = Tokenizer.from_str(tokenizer.to_str())
    full.add_tokens([f" word{i}" for i in range(full.get_vocab_size(), size)])
    return full


@pytest.fixture(scope="module")
def imported(tmp_path_factory, chatml_tokenizer: Tokenizer) -> Path:
    """The published layout with a tokenizer in it, as a release has one."""
    folder = tmp_path_factory.mktemp("imported")
    shutil.copytree(FIXTURE, folder / "release", copy_function=os.symlink)
    filled(chatml_tokenizer, 512).save(str(folder / "release" / "tokenizer.json"))
    import_published(folder / "release", folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def initialised(tmp_path_factory, chatml_tokenizer: Tokenizer) -> Path:
    """A Qwen2 and an InternViT as published, everything else fresh."""
    folder = tmp_path_factory.mktemp("initialised")
    torch.manual_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=336, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.3,
            bos_token_id=None, eos_token_id=None,
        )
    ).save_pretrained(folder / "llm")  # fmt: skip
    filled(chatml_tokenizer, 336).save(str(folder / "llm" / "tokenizer.json"))
    InternVLVisionModel(
        InternVLVisionConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=56,
            patch_size=14, attention_bias=True,
        )
    ).save_pretrained(folder / "eyes")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:  # a fresh speech encoder of full size would take seconds to make
        patch.setattr("parley.checkpoints.importers.qwen_internvit.preset", lambda name: preset("nano"))
        # With this seed the fresh state head finds something to answer.
        init_pretrained("vita-7b", folder / "llm", folder / "eyes", folder / "out", seed=3)
    return folder / "out"


@contextlib.asynccontextmanager
async def services(checkpoint: Path):
    """The stubs of all four services by name, each a running server of its own."""
    async with contextlib.AsyncExitStack() as stack:
        stubs = {}
        for name, spec in SERVICES.items():
            settings = import_path(spec.settings)(checkpoint=checkpoint, **SMALL.get(name, {}))
            servicer = spec.load_servicer()(settings)
            await servicer.start()
            stack.push_async_callback(servicer.stop)
            server, port = await start_server(spec, servicer)
            stack.push_async_callback(server.stop, 0)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            stubs[name] = spec.stub(channel)
        yield stubs


def numbered(requests: list) -> list:
    for sequence, request in enumerate(requests):
        request.sequence = sequence
    return requests


async def encode_speech(stub, waveform: np.ndarray, sample_rate: int) -> tuple[torch.Tensor, str]:
    """Embeddings and transcript of a waveform that is sent in pieces."""
    request, pieces = speech_encoder_pb2.EncodeSpeechRequest, np.array_split(to_pcm16(waveform), 5)
    opening = speech_encoder_pb2.EncodeSpeechOpen(session_id="s", turn_id="t", sample_rate=sample_rate)
    requests = [request(open=opening), *(request(audio=piece.tobytes()) for piece in pieces)]
    requests.append(request(end=speech_encoder_pb2.EncodeSpeechEnd()))
    *chunks, last = [answer async for answer in stub.Encode(numbered(requests)) if answer.ByteSize()]
    return torch.cat([tensors.to_torch(answer.chunk.embeddings) for answer in chunks]), last.done.transcript


async def generate(stub, parts: list, embeddings: tensor_pb2.Embeddings) -> tuple:
    """The decision, the tokens and the end of one answer. `embeddings`: those that the parts refer to."""
    request = language_model_pb2.GenerateRequest
    sampling = language_model_pb2.Sampling(max_tokens=8)
    opening = language_model_pb2.GenerateOpen(session_id="s", turn_id="t", sampling=sampling)
    requests = [request(open=opening), request(embeddings=embeddings), *(request(part=part) for part in parts)]
    requests.append(request(respond=language_model_pb2.GenerateRespond()))
    state, *tokens, done = [answer async for answer in stub.Generate(iter(numbered(requests))) if answer.ByteSize()]
    return state.state, [answer.token for answer in tokens], done.done


async def synthesize(stub, tokens: list[tuple[int, str]]) -> tuple[bytes, int, speech_decoder_pb2.SynthesizeDone]:
    """The audio of an answer, its sample rate, and the end."""
    request = speech_decoder_pb2.SynthesizeRequest
    requests = [request(open=speech_decoder_pb2.SynthesizeOpen(session_id="s", turn_id="t"))]
    requests += [request(token=speech_decoder_pb2.SynthesizeToken(id=number, text=text)) for number, text in tokens]
    requests.append(request(end=speech_decoder_pb2.SynthesizeEnd()))
    *chunks, last = [answer async for answer in stub.Synthesize(numbered(requests)) if answer.ByteSize()]
    return b"".join(answer.chunk.audio for answer in chunks), chunks[0].chunk.sample_rate, last.done


@pytest.mark.parametrize("origin", ["imported", "initialised"])
async def test_a_question_with_picture_and_speech_goes_through_all_four_services(origin: str, request) -> None:
    checkpoint = request.getfixturevalue(origin)
    model, manifest = load_model(checkpoint), Checkpoint.open(checkpoint).manifest
    config, rng = model.config, np.random.default_rng(0)
    waveform = (0.1 * rng.standard_normal(config.speech.sample_rate)).astype(np.float32)
    picture = Image.fromarray(rng.integers(0, 256, (90, 60, 3), dtype=np.uint8))
    file = io.BytesIO()
    picture.save(file, "PNG")
    async with services(checkpoint) as stubs:
        seen = await stubs["vision_encoder"].Encode(
            vision_encoder_pb2.EncodeVisionRequest(session_id="s", turn_id="t", image=file.getvalue())
        )
        speech, transcript = await encode_speech(stubs["speech_encoder"], waveform, config.speech.sample_rate)
        image = tensor_pb2.EmbeddingRef(
            weights="vision", hash=hashlib.sha256(file.getvalue()).hexdigest(), length=seen.embeddings.shape[0]
        )
        parts = [
            language_model_pb2.Part(image=image),
            language_model_pb2.Part(speech=tensors.from_torch(speech)),
        ]
        embeddings = tensor_pb2.Embeddings(ref=image, tensor=seen.embeddings)
        state, tokens, done = await generate(stubs["llm_core"], parts, embeddings)
        assert tokens, "the state was that there is nothing to answer"
        answer = [(token.id, token.text) for token in tokens]
        audio, sample_rate, synthesized = await synthesize(stubs["speech_decoder"], answer)

    sent = to_pcm16(waveform).astype(np.float32) / 2**15
    content = [{"type": "image", "image": picture}, {"type": "audio", "audio": sent}]
    question = read_media([{"role": "user", "content": content}], config)
    want = model.reply(question, max_tokens=8, speak=False)
    assert STATES[state.state - 1] == want.state
    assert list(state.probabilities) == pytest.approx(want.probabilities, abs=1e-3)
    assert [token.id for token in tokens] == want.token_ids
    assert done.usage.prompt_tokens >= image.length + len(speech)
    if origin == "imported":
        assert config.language.state == "tokens"
        assert not {"state_head", "ctc_head"} & set(manifest.parts) and transcript == ""
    assert sample_rate == config.codec.sample_rate
    assert len(audio) // 2 == round(synthesized.usage.audio_output_seconds * sample_rate) > 0
    assert np.frombuffer(audio, "<i2").std() > 0


async def test_a_model_without_a_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    import_published(FIXTURE, tmp_path / "out")
    with pytest.raises(ValueError, match="out has no tokenizer"):
        await LlmCoreService(LlmCoreSettings(checkpoint=tmp_path / "out")).start()
