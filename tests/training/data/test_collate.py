"""Collating: media are encoded once and keep their order, and labels are the ids of answers."""

from __future__ import annotations

import pytest

from parley.text.prompt import PromptWriter
from training.data.collate import DialogCollator, Rendered, with_labels
from training.data.packing import IGNORED
from training.data.world import World
from training.data.world.world import LOOKUPS

WORLD = World(0, "train")


@pytest.fixture(scope="module")
def collate(tiny_config, tiny_tokenizer) -> DialogCollator:
    return DialogCollator(tiny_config, PromptWriter.of(tiny_config.language, tiny_tokenizer))


def test_every_utterance_has_its_transcript(collate):
    samples = [WORLD.spoken(WORLD.dialog(2, turns=3), 2, share=1.0), WORLD.small_talk(1), WORLD.negative(4)]
    batch = collate(samples)
    expected = [
        part["transcript"]
        for sample in samples for message in sample.messages for part in message["content"] if "transcript" in part
    ]  # fmt: skip
    assert batch.transcripts == expected
    assert len(expected) == len(batch.features) == len(batch.lengths)
    assert int(batch.lengths.max()) == batch.features.shape[1]


def test_a_picture_of_several_samples_is_encoded_once(collate):
    samples = [WORLD.single(i, LOOKUPS) for i in range(8)]
    assert {sample.about["kind"] for sample in samples} <= set(LOOKUPS)
    scenes = [WORLD.single(i).about["scene"] for i in (0, 0, 0, 0, 4, 4, 4, 4)]
    assert [sample.about["scene"] for sample in samples] == scenes
    batch = collate(samples)
    assert len(batch.pixels) == 2 and batch.tiles == [1, 1]
    assert batch.media == [("image", 0)] * 4 + [("image", 1)] * 4


def test_a_batch_without_media_has_none(collate):
    batch = collate([WORLD.small_talk(1)])
    assert batch.pixels is None and batch.features is None and batch.media == [] == batch.transcripts


def test_embeddings_have_no_label():
    rendered = Rendered(segments=[[1, 2], 0, [3], [4, 5]], answers=[False, False, False, True], states=[], kinds=[])
    ids, labels = with_labels(rendered, [3])
    assert ids == [1, 2, -1, -1, -1, 3, 4, 5]
    assert labels == [IGNORED] * 6 + [4, 5]
