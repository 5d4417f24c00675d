"""The speech decoder: foreign values, stepping equals teacher forcing, sequences do not disturb each other."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from parley.config import SpeechDecoderConfig
from parley.models.speech_decoder import SpeechDecoder, Text

FIXTURE = Path(__file__).parents[2] / "fixtures" / "vita15-tiny"


@pytest.fixture(scope="module")
def published():
    """(decoder, language embeddings, expected values) of the fixture, its keys renamed by hand."""
    size, codes, sizes = json.loads((FIXTURE / "vita_tts_ckpt/decoder/model.json").read_text())
    weights = torch.load(FIXTURE / "vita_tts_ckpt/decoder/final.pt", weights_only=True)
    index = json.loads((FIXTURE / "model.safetensors.index.json").read_text())["weight_map"]
    key = "model.embed_tokens.weight"
    with safe_open(FIXTURE / index[key], "pt") as file:
        table = file.get_tensor(key).float()
    config = SpeechDecoderConfig(
        hidden_size=size,
        intermediate_size=sizes["transformer_linear_units"],
        num_heads=sizes["transformer_attention_heads"],
        nar_layers=sizes["transformer_num_blocks"] // 2,
        ar_layers=sizes["transformer_num_blocks"],
        num_codes=codes,
    )
    decoder = SpeechDecoder(config, table.shape[1]).eval()
    names = {"layers_pre_nn.": "nar.", "layers.": "ar.", "out_fnn.": "head."}
    renamed = {}
    for key, value in weights.items():
        for old, new in names.items():
            if key.startswith(old):
                key = new + key.removeprefix(old)
        renamed[key] = value
    decoder.load_state_dict(renamed)
    return decoder, table, load_file(FIXTURE / "expected.safetensors")


@torch.inference_mode()
def test_published_nar(published):
    decoder, table, expected = published
    text = Text.of([expected["decoder.text_ids"].tolist()], table)
    torch.testing.assert_close(
        text.embeddings.view(expected["decoder.hidden_in"].shape), expected["decoder.hidden_in"], rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        decoder.encode_text(text.embeddings, text.lengths), expected["decoder.nar_out"], rtol=1e-4, atol=1e-4
    )


@torch.inference_mode()
def test_published_teacher_logits(published):
    decoder, table, expected = published
    text = Text.of([expected["decoder.text_ids"].tolist()], table)
    logits = decoder(text, expected["decoder.teacher_tokens"].unsqueeze(0))[0]
    torch.testing.assert_close(logits, expected["decoder.teacher_logits"], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_published_greedy(published):
    decoder, table, expected = published
    wanted = expected["decoder.greedy_tokens"]
    slots = decoder.slots(1, 200)
    slots.prefill(Text.of([expected["decoder.text_ids"].tolist()], table))
    token, made = torch.tensor([decoder.config.sos]), []
    while len(made) < len(wanted):
        token = slots.step(token).argmax(-1)
        made.append(token)
    assert torch.equal(torch.cat(made), wanted)


def make(position):
    torch.manual_seed(0)
    config = SpeechDecoderConfig(
        hidden_size=32, intermediate_size=48, num_heads=4, nar_layers=2, ar_layers=2, num_codes=50, position=position
    )
    decoder = SpeechDecoder(config, 64, vocab_size=30).double().eval()
    if position == "expected_time":
        decoder.token_frames.uniform_(1, 9)
    return decoder, torch.randn(30, 64, dtype=torch.double)


@pytest.mark.parametrize("position", ["plain", "expected_time"])
@torch.inference_mode()
def test_stepping_equals_teacher_forcing_for_sequences_of_any_age(position):
    """Sequences of different lengths are added and removed at different steps; each gets the logits it gets alone."""
    decoder, table = make(position)
    texts = [[1, 2, 3, 4, 5], [6], [7, 8, 9], [10, 11, 12, 13]]
    codes = torch.randint(50, (4, 12))
    wanted = [decoder(Text.of([ids], table), codes[i : i + 1])[0] for i, ids in enumerate(texts)]
    slots = decoder.slots(3, 64)
    speaking, got = [], [[] for _ in texts]  # texts by slot
    for now in range(40):
        joins = {0: [0, 1], 3: [2], 8: [3]}.get(now)
        if joins is not None:
            slots.prefill(Text.of([texts[i] for i in joins], table))
            speaking += joins
        if not speaking:
            break
        tokens = [codes[i, len(got[i]) - 1] if got[i] else torch.tensor(decoder.config.sos) for i in speaking]
        for i, logits in zip(speaking, slots.step(torch.stack(tokens)), strict=True):
            got[i].append(logits)
        ends = {5: 1, 9: 0}.get(now)
        for i in [i for i in speaking if len(got[i]) == 13 or i == ends]:
            slot = speaking.index(i)
            speaking[slot] = speaking[slots.free(slot)]
            speaking.pop()
    assert not speaking and slots.size == 0
    assert [len(logits) for logits in got] == [10, 6, 13, 13]
    for made, want in zip(got, wanted, strict=True):
        torch.testing.assert_close(torch.stack(made), want[: len(made)])


@pytest.mark.parametrize("position", ["plain", "expected_time"])
def test_padding_changes_nothing(position):
    decoder, table = make(position)
    codes = torch.randint(50, (2, 6))
    both = decoder(Text.of([[1, 2], [3, 4, 5, 6]], table), codes)
    alone = decoder(Text.of([[1, 2]], table), codes[:1])
    torch.testing.assert_close(both[:1], alone)


def test_sampling_is_by_sequence():
    decoder, _ = make("plain")
    logits = torch.randn(3, 54)

    def draw(sequences, seeds):
        return decoder.sample(logits[sequences], [torch.Generator().manual_seed(s) for s in seeds], top_k=5)

    three = draw([0, 1, 2], [7, 8, 9])
    assert torch.equal(three[1:2], draw([1], [8]))
    assert torch.equal(draw([0, 1], [1, 2]), draw([0, 1], [1, 2]))
    logits[:, 50:52] = logits[:, 53] = 100.0  # bos, sos and pad are never spoken
    assert (decoder.sample(logits, [], top_k=1) < 53).all() and (decoder.sample(logits, [], top_k=1) != 51).all()


def test_generation_ends_and_repeats_itself():
    decoder, table = make("expected_time")
    one, two = decoder.generate([1, 2, 3], table, seed=5, top_k=4), decoder.generate([1, 2, 3], table, seed=5, top_k=4)
    assert torch.equal(one, two)
    assert 0 < len(one) <= decoder.frame_limit([1, 2, 3])


def test_what_does_not_fit():
    decoder, table = make("plain")
    slots = decoder.slots(1, 8)
    with pytest.raises(ValueError, match="leaves no position for speech"):
        slots.prefill(Text.of([[1] * 9], table))
    slots.prefill(Text.of([[1]], table))
    with pytest.raises(ValueError, match="1 of 1 slots are in use"):
        slots.prefill(Text.of([[1]], table))
    with pytest.raises(ValueError, match="cannot be cut"):
        SpeechDecoder(decoder.config, 63)
    with pytest.raises(ValueError, match="needs the vocab_size"):
        SpeechDecoder(decoder.config.model_copy(update={"position": "expected_time"}), 64)
