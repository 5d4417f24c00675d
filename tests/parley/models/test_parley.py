"""All parts in one process: sizes of the presets, embedding, replying."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from parley.checkpoints import load_model
from parley.checkpoints.importers.qwen_internvit import fitted_decoder
from parley.config import PARTS, ParleyConfig, preset
from parley.models.parley import Parley, parts_of

PICTURE = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)  # pixels of one tile
SPEECH = (np.sin(np.arange(16_000) / 20) * 0.3).astype(np.float32)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Parley:
    return load_model(tiny_checkpoint)


def user(*parts) -> list[dict]:
    return [{"role": "user", "content": [{"type": kind, kind: content} for kind, content in parts]}]


def count(model: Parley, *parts: str) -> int:
    return sum(p.numel() for part in parts for p in model.get_submodule(part).parameters())


def test_the_full_size_has_the_published_sizes() -> None:
    with torch.device("meta"):
        model = Parley(preset("vita-7b"))
    # VITA's code prints parameters / 1024 / 1024 as "M"; so do the figures for encoders and decoders.
    assert count(model, "vision_encoder") / 2**20 == pytest.approx(289.9, abs=0.1)
    assert count(model, "speech_encoder") / 2**20 == pytest.approx(341, abs=1)
    assert count(model, "speech_decoder") / 2**20 == pytest.approx(120, rel=0.02)
    assert count(model, "language") == pytest.approx(7.6e9, rel=0.01)


@pytest.mark.parametrize(
    ("width", "layers", "heads", "ffn", "billions"), [(896, 24, 14, 4864, 0.91), (1536, 28, 12, 8960, 1.96)]
)
def test_vita_small_is_between_the_two(width: int, layers: int, heads: int, ffn: int, billions: float) -> None:
    """With the sizes of Qwen2.5-0.5B and 1.5B, as `parley init` takes them from their folders."""
    base = preset("vita-small")
    sizes = {"hidden_size": width, "num_layers": layers, "num_heads": heads, "intermediate_size": ffn}
    decoder = fitted_decoder(base.speech_decoder, width)
    config = base.model_copy(update={"language": base.language.model_copy(update=sizes), "speech_decoder": decoder})
    with torch.device("meta"):
        model = Parley(config)
    assert tuple(name for name, part in model.named_children() if part is not None) == PARTS
    assert count(model, *PARTS) / 1e9 == pytest.approx(billions, abs=0.005)
    speech = count(model, "speech_encoder", "speech_adapter", "speech_decoder", "codec_encoder", "codec_decoder")
    assert 90e6 < speech < 120e6
    assert decoder.hidden_size == (448 if width == 896 else 384)


def test_the_codec_of_vita_small_is_decoded_without_seams() -> None:
    config = preset("vita-small")
    with torch.device("meta"):
        decoder = Parley(config, ["codec_decoder"]).codec_decoder
    assert max(decoder.reach) <= config.speech_decoder.overlap_tokens


def test_nano_is_small_and_complete() -> None:
    model = Parley(preset("nano"))
    assert count(model, *PARTS) * 2 < 40e6  # bytes in half precision
    assert model.language.lm_head.weight is model.language.get_input_embeddings().weight


def test_parts_follow_the_config(tiny_config: ParleyConfig) -> None:
    silent = tiny_config.model_copy(
        update={
            "speech": tiny_config.speech.model_copy(update={"ctc_alphabet": ""}),
            "language": tiny_config.language.model_copy(update={"state": "tokens"}),
        }
    )
    assert set(PARTS) - set(parts_of(silent)) == {"ctc_head", "state_head", "end_of_turn_head"}
    assert parts_of(tiny_config) == PARTS


def test_segments_are_spliced_in_order(model: Parley) -> None:
    embeddings = model.embed(user(("text", "hello"), ("image", PICTURE), ("audio", SPEECH)))
    ids = model.writer
    picture, speech = model.see(PICTURE), model.hear(SPEECH)
    before = [*ids.open_user([])[0].ids, *ids.text("hello")]
    after = ids.close_user_open_assistant()[0].ids
    table = model.language.get_input_embeddings().weight
    expected = torch.cat([table[before], picture, model.speech_prompt.vectors, speech, table[after]])
    assert torch.allclose(embeddings, expected, atol=1e-6)
    assert picture.shape == (4, 48) and len(speech) == 12


def test_content_may_be_ready_embeddings(model: Parley) -> None:
    for kind, content, embeddings in (("image", PICTURE, model.see(PICTURE)), ("audio", SPEECH, model.hear(SPEECH))):
        assert torch.equal(model.embed(user((kind, content))), model.embed(user((kind, embeddings))))
    frames = np.concatenate([PICTURE] * 3)
    assert torch.allclose(model.embed(user(("video", frames))), model.embed(user(("image", frames))))


@pytest.mark.parametrize(
    ("kind", "content", "error"),
    [
        ("image", "scene.png", r"image content is pixels \[tiles, 3, S, S\] or .*, not str; .*read_media"),
        ("image", SPEECH, "not an array of 1 dimensions"),
        ("audio", PICTURE, r"speech content is a waveform \[samples\] .*, not an array of 4 dimensions"),
    ],
)
def test_other_content_is_refused_with_the_way_out(model: Parley, kind: str, content, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        model.embed(user((kind, content)))


def test_a_model_of_another_number_format_takes_the_same_arrays(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint, dtype=torch.bfloat16)
    assert model.embed(user(("image", PICTURE), ("audio", SPEECH))).dtype == torch.bfloat16


def test_unknown_parts_are_refused(tiny_config: ParleyConfig) -> None:
    with pytest.raises(ValueError, match=r"no parts \['soul'\]"):
        Parley(tiny_config, parts=("soul",))


def test_a_reply_is_words_and_sound_and_the_same_again(model: Parley) -> None:
    messages = user(("image", PICTURE), ("audio", SPEECH))
    one, again = model.reply(messages, max_tokens=12), model.reply(messages, max_tokens=12)
    assert one.state == "speech" and sum(one.probabilities) == pytest.approx(1)
    assert len(one.token_ids) == 12 and one.text == model.writer.decode(one.token_ids)
    assert one.audio.dtype == np.float32 and len(one.audio) % model.config.codec.hop_length == 0
    assert len(one.audio) > 0 and np.abs(one.audio).max() <= 1
    assert one.token_ids == again.token_ids and np.array_equal(one.audio, again.audio)
    assert len(model.reply(messages, max_tokens=3, speak=False).audio) == 0


def test_a_reply_equals_reading_everything_anew(model: Parley) -> None:
    messages = user(("image", PICTURE), ("text", "what is it?"))
    ids, rows = [], model.embed(messages)
    table = model.language.get_input_embeddings().weight
    with torch.no_grad():
        for _ in range(10):
            ids.append(int(model.language(inputs_embeds=rows[None]).logits[0, -1].argmax()))
            rows = torch.cat([rows, table[ids[-1:]]])
    assert model.reply(messages, max_tokens=10, speak=False).token_ids == ids


def test_no_reply_is_empty(model: Parley, monkeypatch) -> None:
    messages = user(("text", "hello"))
    with torch.no_grad():
        logits = model.language(inputs_embeds=model.embed(messages)[None]).logits[0, -1]
    likely = logits.topk(3).indices.tolist()
    monkeypatch.setattr(model.writer, "stop_ids", frozenset(likely[:2]))
    reply = model.reply(messages, max_tokens=3, speak=False)
    assert reply.state != "nothing" and reply.token_ids[0] == likely[2]


def test_sampling_follows_its_seed(model: Parley) -> None:
    messages = user(("text", "hello"))
    replies = [model.reply(messages, max_tokens=8, temperature=5.0, seed=s, speak=False).token_ids for s in (1, 1, 2)]
    assert replies[0] == replies[1] != replies[2]


def test_a_reply_tells_whether_the_question_is_complete(model: Parley) -> None:
    messages = user(("audio", SPEECH))
    with torch.no_grad():
        hidden = model.language.model(inputs_embeds=model.embed(messages)[None]).last_hidden_state[0, -1]
        logit = float((model.end_of_turn_head.weight[0] * hidden).sum() + model.end_of_turn_head.bias[0])
    expected = 1 / (1 + np.exp(-logit))
    assert model.reply(messages, max_tokens=1, speak=False).complete == pytest.approx(expected, abs=1e-5)


def test_a_checkpoint_without_the_end_of_turn_head_is_read_as_before(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint, [part for part in PARTS if part != "end_of_turn_head"])
    reply = model.reply(user(("audio", SPEECH)), max_tokens=1, speak=False)
    assert model.end_of_turn_head is None and reply.complete is None and reply.state == "speech"


def test_nothing_to_answer_means_silence(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    with torch.no_grad():
        model.state_head.bias.copy_(torch.tensor([0.0, 0.0, 90.0]))
    reply = model.reply(user(("audio", SPEECH)), max_tokens=5)
    assert (reply.state, reply.text, len(reply.audio)) == ("nothing", "", 0)
    assert model.reply(user(("audio", SPEECH)), max_tokens=5, always=True, speak=False).token_ids


@pytest.mark.parametrize("state", ["speech", "text", "nothing"])
def test_state_tokens_tell_the_state(tiny_checkpoint: Path, state: str) -> None:
    model = load_model(tiny_checkpoint)
    model.config = model.config.model_copy(
        update={"language": model.config.language.model_copy(update={"state": "tokens"})}
    )
    chosen = model.writer.state_ids[("speech", "text", "nothing").index(state)]
    others = {i for ids in model.writer.state_ids for i in ids} - {chosen[-1]}
    with torch.no_grad():
        # Whatever the model feels, at the last id of the three only the chosen one is likely.
        model.language.lm_head.weight[list(others)] = 0
        hidden = model.language.model(
            inputs_embeds=torch.cat([model.embed(user(("text", "hello"))), model._embed_ids(chosen[:-1])])[None]
        ).last_hidden_state[0, -1]
        model.language.lm_head.weight[chosen[-1]] = hidden
    reply = model.reply(user(("text", "hello")), max_tokens=6, speak=False)
    assert reply.state == state
    assert bool(reply.token_ids) == (state != "nothing")
    assert not set("☞☜☟") & set(reply.text)


def test_a_conversation_longer_than_the_context_is_refused(model: Parley) -> None:
    with pytest.raises(ValueError, match="reads at most 511"):
        model.reply(user(("text", "hello " * 600)))


def test_a_model_without_tokenizer_says_so(tiny_config: ParleyConfig) -> None:
    with pytest.raises(ValueError, match="no tokenizer"):
        Parley(tiny_config, parts=("language",)).embed(user(("text", "x")))
