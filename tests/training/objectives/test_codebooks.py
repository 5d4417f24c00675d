"""Codebooks: a k-means start, running means, replacement of dead codes, and a gradient through quantization."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from parley.models.codec.base import Codebook, Quantizer
from training.objectives.codebooks import CHECK_EVERY, DECAY, CodebookTrainer, QuantizerTrainer, kmeans


def step(trainer: CodebookTrainer, *passes: Tensor) -> None:
    for vectors in passes:
        trainer.collect(vectors)
    trainer.finish_step()


def started(codes: int = 16, dim: int = 4, seed: int = 0) -> tuple[Codebook, CodebookTrainer]:
    torch.manual_seed(seed)
    book = Codebook(codes, dim)
    trainer = CodebookTrainer(book, 64)
    step(trainer, torch.randn(64, dim))
    assert trainer.ready
    return book, trainer


def test_dead_codes_are_replaced():
    torch.manual_seed(0)
    book = Codebook(16, 4)
    trainer = CodebookTrainer(book, 64)
    step(trainer, torch.randn(64, 4) * 0.01)
    assert trainer.ready
    for _ in range(400):
        step(trainer, torch.randn(64, 4) + 5)
    used = torch.bincount(book.assign(torch.randn(2000, 4) + 5), minlength=16)
    assert (used > 0).sum() > 12
    assert (book.weight - 5).abs().mean() < 1.5


def test_a_codeword_is_the_running_mean_of_its_vectors():
    book, trainer = started()
    counts, sums = trainer.counts.clone(), trainer.sums.clone()
    for _ in range(5):
        vectors, before = torch.randn(40, 4), book.weight.clone()
        step(trainer, vectors)
        nearest = torch.cdist(vectors, before).argmin(1)
        for code in range(16):
            mine = vectors[nearest == code]
            counts[code] = DECAY * counts[code] + (1 - DECAY) * len(mine) * 16 / 40
            sums[code] = DECAY * sums[code] + (1 - DECAY) * mine.sum(0) * 16 / 40
        torch.testing.assert_close(book.weight, sums / counts[:, None], atol=1e-5, rtol=1e-4)


def test_a_step_is_the_same_in_one_pass_and_in_several():
    """Before the end of a step nothing changes: all of its passes are quantized by the same codewords."""
    vectors = torch.randn(64, 4)
    book, trainer = started()
    other = copy.deepcopy(book)
    other_trainer = copy.deepcopy(trainer)
    other_trainer._codebook = [other]
    before = book.weight.clone()
    for part in vectors.split([10, 1, 0, 53]):
        trainer.collect(part)
        assert torch.equal(book.weight, before)
    trainer.finish_step()
    step(other_trainer, vectors)
    assert torch.equal(book.weight, other.weight) and not torch.equal(book.weight, before)
    assert trainer._collected == []  # or the next step would learn from them again


@pytest.mark.parametrize("passes", [(), (torch.empty(0, 4),)])
def test_a_step_without_vectors_changes_nothing(passes):
    book, trainer = started()
    before, steps = book.weight.clone(), int(trainer.steps)
    step(trainer, *passes)
    assert torch.equal(book.weight, before) and int(trainer.steps) == steps


def test_vectors_seen_before_the_start_are_its_only_ones():
    torch.manual_seed(0)
    trainer, vectors = CodebookTrainer(Codebook(4, 2), 10), torch.randn(15, 2)
    step(trainer, vectors[:6])
    assert not trainer.ready and int(trainer.seen) == 6
    step(trainer, vectors[6:])
    assert trainer.ready and torch.equal(trainer.waiting, vectors[:10])


def test_kmeans_finds_clusters():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    vectors = torch.cat([centre + 0.1 * torch.randn(50, 2) for centre in centres])
    found = kmeans(vectors, 12, torch.Generator().manual_seed(0))
    assert found.shape == (12, 2)
    assert torch.cdist(centres, found).min(1).values.max() < 0.5


def test_kmeans_is_lloyds_algorithm():
    """Each centre is the mean of its vectors; another round of the slow form changes nothing that had settled."""
    torch.manual_seed(0)
    vectors = torch.randn(200, 3)
    found = kmeans(vectors, 6, torch.Generator().manual_seed(1), rounds=100)
    nearest = torch.cdist(vectors, found).argmin(1)
    expected = torch.stack([vectors[nearest == i].mean(0) for i in range(6)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_start_and_replacements_draw_the_same_each_time():
    """In every process, and after a resume, whatever the network drew meanwhile."""
    books = []
    for noise in (0, 1):
        book, trainer = started()
        torch.manual_seed(noise)
        torch.randn(noise * 3 + 1)
        generator = torch.Generator().manual_seed(7)
        for _ in range(2 * CHECK_EVERY):
            step(trainer, torch.randn(30, 4, generator=generator) + 6)  # far from all codewords: some die
        books.append(book.weight.clone())
    assert torch.equal(*books)


def test_a_resumed_trainer_goes_on_as_if_never_stopped():
    book, trainer = started()
    vectors = torch.randn(2 * CHECK_EVERY, 30, 4, generator=torch.Generator().manual_seed(3)) + 6
    for one in vectors[:60]:
        step(trainer, one)
    other = Codebook(16, 4)
    other.load_state_dict(book.state_dict())
    resumed = CodebookTrainer(other, 64)
    resumed.load_state_dict(trainer.state_dict())
    for one in vectors[60:]:
        step(trainer, one)
        step(resumed, one)
    assert torch.equal(book.weight, other.weight)


def learned(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def test_quantizing_keeps_the_gradient():
    torch.manual_seed(0)
    quantizer = Quantizer(8, 4, groups=2, layers=2)
    trainer = QuantizerTrainer(quantizer, 8)
    for _ in range(3):
        trainer(torch.randn(20, 4), learned(20))
        trainer.finish_step()
    x = torch.randn(2, 5, 4, requires_grad=True)
    quantized, commitment = trainer(x, learned(2))
    assert (commitment > 0).all() and commitment.shape == (2,) and not torch.equal(quantized, x)
    quantized.sum().backward(retain_graph=True)
    assert torch.equal(x.grad, torch.ones_like(x))
    x.grad = None
    commitment.sum().backward()
    distance = 2 * (x - quantized).detach() / (5 * 4)  # the gradient of a mean of squares of 5 × 4 numbers
    torch.testing.assert_close(x.grad, distance)


def test_quantizing_is_what_the_codec_does():
    """As the served codec: assign, then look the codewords up."""
    torch.manual_seed(0)
    quantizer = Quantizer(8, 4, groups=2, layers=2)
    trainer = QuantizerTrainer(quantizer, 8)
    for _ in range(3):
        trainer(torch.randn(20, 4), learned(20))
        trainer.finish_step()
    assert trainer.ready
    x = torch.randn(2, 5, 4)
    quantized, commitment = trainer(x, learned(2))
    expected = quantizer(quantizer.assign(x))
    torch.testing.assert_close(quantized, expected)
    torch.testing.assert_close(commitment, (x - expected).square().mean((1, 2)))


def test_only_learned_vectors_are_collected():
    torch.manual_seed(0)
    trainer = QuantizerTrainer(Quantizer(8, 4, groups=2, layers=1), 8)
    x = torch.randn(3, 5, 4)
    same, commitment = trainer(x, torch.tensor([True, False, True]))
    assert same is x and commitment.tolist() == [0, 0, 0]  # nothing is quantized yet
    for group, book in enumerate(trainer.books):
        expected = x[[0, 2], :, 2 * group : 2 * group + 2].reshape(-1, 2)
        assert torch.equal(torch.cat(book._collected), expected)
