"""The length of a sample, known before it is encoded, is that of its ids once it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from parley.config import VisionConfig
from parley.media.image import tile
from parley.models.filter_bank import fbank
from parley.text.prompt import PromptWriter
from training.data.collate import DialogCollator
from training.data.sample import Sample
from training.data.sample_length import SampleLength, mel_frames


def asked(*content: dict) -> Sample:
    return Sample([{"role": "user", "content": [*content]}, {"role": "assistant", "content": "a red square."}], "test")


def test_tiles_frames_and_speech_count_as_the_model_makes_them(tiny_config, tiny_tokenizer):
    vision = VisionConfig(**tiny_config.vision.model_dump() | {"max_tiles": 12})
    config = tiny_config.model_copy(update={"vision": vision})
    length = SampleLength(config, tiny_tokenizer)
    text = length(asked({"type": "text", "text": "what?"}))
    image = Image.new("RGB", (150, 70))
    embeddings = len(tile(image, vision)) * 4  # a tile of 4×4 patches, shuffled 2×2
    assert embeddings > 4 and length(asked({"type": "text", "text": "what?"}, {"type": "image", "image": image})) == (
        text + embeddings
    )
    frames = [Image.new("RGB", (20, 20))] * 3
    assert length(asked({"type": "text", "text": "what?"}, {"type": "video", "video": frames})) == text + 3 * 4


@pytest.mark.parametrize("samples", [1360, 4000, 16_000, 16_159, 16_160])
def test_speech_counts_as_the_encoder_and_adapter_make_it(tiny_config, tiny_tokenizer, samples):
    from parley.models.parley import Parley

    model = Parley(tiny_config, ("speech_encoder", "speech_adapter")).eval()
    audio = np.random.default_rng(0).standard_normal(samples).astype(np.float32) * 0.1
    features = fbank(audio, tiny_config.speech)
    assert len(features) == mel_frames(samples, tiny_config.speech)
    with torch.no_grad():
        _, lengths = model.speech_adapter(*model.speech_encoder(features[None], torch.tensor([len(features)])))
    length = SampleLength(tiny_config, tiny_tokenizer)
    text = length(asked({"type": "text", "text": "what?"}))
    spoken = length(asked({"type": "text", "text": "what?"}, {"type": "audio", "audio": audio}))
    assert spoken == text + tiny_config.speech.num_prompt_embeddings + int(lengths[0])


def test_what_cannot_be_encoded_is_said(tiny_config, tiny_tokenizer):
    length = SampleLength(tiny_config, tiny_tokenizer)
    with pytest.raises(ValueError, match=r"speech of 0.050 s is too short"):
        length(asked({"type": "audio", "audio": np.zeros(800, np.float32)}))
    with pytest.raises(ValueError, match="message 0"):
        length(Sample([{"role": "nobody", "content": "x"}], "test"))


def test_the_length_is_that_of_the_collators_ids(tiny_config, tiny_tokenizer):
    audio = 0.1 * np.random.default_rng(0).standard_normal(9000).astype(np.float32)
    media = [{"type": "image", "image": Image.new("RGB", (90, 40))}, {"type": "audio", "audio": audio}]
    collate = DialogCollator(tiny_config, PromptWriter.of(tiny_config.language, tiny_tokenizer))
    for sample in (asked({"type": "text", "text": "what?"}), asked(*media), asked(media[1], media[1])):
        assert SampleLength(tiny_config, tiny_tokenizer)(sample) == len(collate.render(sample, {}).ids)
