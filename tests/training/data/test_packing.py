"""Packing: nothing is lost, nothing sees or predicts across samples."""

from __future__ import annotations

import random

import pytest
import torch

from training.data.packing import IGNORED, pack, pack_by_length


def make_samples(count: int, seed: int = 0) -> list[tuple[list[int], list[int]]]:
    """Samples whose ids tell the sample and the position: 1000 × sample + position."""
    rng = random.Random(seed)
    samples = []
    for number in range(count):
        ids = [1000 * number + position for position in range(rng.randint(2, 40))]
        labels = [i if rng.random() < 0.5 else IGNORED for i in ids]
        samples.append((ids, labels))
    return samples


def test_every_token_and_every_label_is_there_once():
    samples = make_samples(30)
    packed = pack(samples, 64)
    assert sorted(packed.ids[packed.owner >= 0].tolist()) == sorted(i for ids, _ in samples for i in ids)
    # The first token of a sample has nothing before it that could predict it.
    expected = sorted(label for _, labels in samples for label in labels[1:] if label != IGNORED)
    assert sorted(packed.labels[packed.labels != IGNORED].tolist()) == expected


def test_a_label_is_the_next_id_of_the_same_sample():
    packed = pack(make_samples(30), 64)
    for sequence, column in (packed.labels != IGNORED).nonzero().tolist():
        assert packed.labels[sequence, column] == packed.ids[sequence, column + 1]
        assert packed.labels[sequence, column] // 1000 == packed.owner[sequence, column]


def test_the_mask_is_causal_and_ends_at_the_sample():
    packed = pack(make_samples(12), 64)
    mask = packed.mask()[:, 0]
    length = mask.shape[1]
    for sequence in range(mask.shape[0]):
        for i in range(length):
            for j in range(length):
                same = bool(packed.owner[sequence, i] == packed.owner[sequence, j])
                assert mask[sequence, i, j] == (j <= i and same)


def test_positions_start_anew_in_each_sample():
    samples = make_samples(12)
    packed = pack(samples, 64)
    for number, (ids, _) in enumerate(samples):
        assert packed.positions[packed.owner == number].tolist() == list(range(len(ids)))


def test_a_sample_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="a sample has 100 tokens; a sequence holds 64"):
        pack([(list(range(100)), list(range(100)))], 64)


def test_labels_must_line_up():
    with pytest.raises(ValueError, match="sample 0 has 3 tokens and 2 labels"):
        pack([([1, 2, 3], [1, 2])], 64)


def test_sequences_are_filled_well():
    samples = [(list(range(n)), list(range(n))) for n in (60, 60, 60, 60, 40, 40, 40, 40)]
    packed = pack(samples, 128)
    assert torch.numel(packed.ids) <= 1.1 * 400


def test_samples_of_like_length_are_packed_together_and_keep_their_numbers():
    samples = make_samples(120)
    packs = pack_by_length(samples, 64)
    assert len(packs) > 1
    found = [pair for packed in packs for pair in torch.stack([packed.owner, packed.ids], -1).flatten(0, 1).tolist()]
    expected = [[number, i] for number, (ids, _) in enumerate(samples) for i in ids]
    assert sorted(pair for pair in found if pair[0] >= 0) == expected
    longest = [max(len(samples[int(n)][0]) for n in packed.owner.unique() if n >= 0) for packed in packs]
    assert longest == sorted(longest) and longest[0] <= 32 < longest[-1]


def test_a_few_tokens_make_no_pack_of_their_own():
    samples = [([1] * 10, [1] * 10)] * 3 + [([1] * 60, [1] * 60)] * 20
    assert len(pack_by_length(samples, 64)) == 1
