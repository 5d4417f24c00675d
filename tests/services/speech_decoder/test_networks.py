"""Compiled, the speech decoder says the same: the same codec tokens, and audio within 1e-4."""

from itertools import count
from pathlib import Path

import pytest
import torch

from parley.checkpoints import Checkpoint, load_model
from parley.export.graph import speech_decoder_graphs
from parley.models.codec import decode_chunk
from parley.models.speech_decoder import Text
from services.engine.compiled import compiled
from services.engine.settings import CompiledSettings
from services.speech_decoder.engine import TORCH, Networks
from services.speech_decoder.service import EMBEDDINGS

NANO = Path(__file__).parents[3] / "checkpoints" / "nano"
TEXTS = {
    0: " the small red square is at the top.",
    3: " two.",
    9: " hello, how are you today?",
    40: " a big blue star.",
}


@pytest.fixture(scope="module")
def nano():
    checkpoint = Checkpoint.open(NANO)
    model = load_model(checkpoint, ["speech_decoder", "codec_decoder"])
    return model, checkpoint.tensor("language", EMBEDDINGS).float()


@torch.inference_mode()
def speak(model, table, networks: Networks) -> dict[str, list[int]]:
    """The codec tokens of each text; they join a batch at these steps and leave it when they end."""
    decoder = model.speech_decoder
    slots = decoder.slots(3, 400, networks.prefill, networks.step)
    codes, speaking, waiting = {text: [decoder.config.sos] for text in TEXTS.values()}, [], dict(TEXTS)
    for now in count():
        if now in waiting:
            text = waiting.pop(now)
            slots.prefill(Text.of([model.tokenizer.encode(text).ids], table))
            speaking.append(text)
        tokens = decoder.sample(slots.step(torch.tensor([codes[text][-1] for text in speaking])), [], top_k=1)
        for text, token in zip(list(speaking), tokens.tolist(), strict=True):
            codes[text].append(token)
        for text in [text for text in speaking if codes[text][-1] == decoder.config.eos]:
            slot = speaking.index(text)
            speaking[slot] = speaking[slots.free(slot)]
            speaking.pop()
        if not speaking and not waiting:
            return {text: ids[1:-1] for text, ids in codes.items()}


@torch.inference_mode()
def test_the_same_tokens_and_the_same_audio(nano):
    model, table = nano
    settings = CompiledSettings(device="cpu", dtype="float32", threads=1, runtime="onnxruntime")
    graphs = speech_decoder_graphs(model.speech_decoder, model.codec_decoder)
    networks = Networks(*(compiled(graph, settings) for graph in graphs))
    wanted = speak(model, table, TORCH)
    assert speak(model, table, networks) == wanted and all(len(codes) > 5 for codes in wanted.values())
    speaker = torch.tensor([model.config.codec.default_speaker])
    for codes in wanted.values():
        chunk = model.codec_decoder, torch.tensor([codes]), speaker, 3, 2
        found = decode_chunk(*chunk, networks.codec)
        torch.testing.assert_close(found, decode_chunk(*chunk), rtol=0, atol=1e-4)
