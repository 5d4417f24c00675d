"""Codebooks: a k-means start, replacement of dead codes, and a gradient through quantization."""

import torch

from parley.models.codec.base import Codebook, Quantizer
from training.objectives.codebooks import CodebookTrainer, QuantizerTrainer, kmeans


def test_dead_codes_are_replaced():
    torch.manual_seed(0)
    book = Codebook(16, 4)
    trainer = CodebookTrainer(book, 64)
    trainer.observe(torch.randn(64, 4) * 0.01)
    assert trainer.ready
    for _ in range(400):
        trainer.observe(torch.randn(64, 4) + 5)
    used = torch.bincount(book.assign(torch.randn(2000, 4) + 5), minlength=16)
    assert (used > 0).sum() > 12
    assert (book.weight - 5).abs().mean() < 1.5


def test_kmeans_finds_clusters():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    found = kmeans(torch.cat([centre + 0.1 * torch.randn(50, 2) for centre in centres]), 12)
    assert found.shape == (12, 2)
    assert torch.cdist(centres, found).min(1).values.max() < 0.5


def test_quantizing_keeps_the_gradient():
    torch.manual_seed(0)
    quantizer = Quantizer(8, 4, groups=2, layers=2)
    trainer = QuantizerTrainer(quantizer, 8)
    for _ in range(3):
        trainer(torch.randn(20, 4))
    x = torch.randn(2, 5, 4, requires_grad=True)
    quantized, commitment = trainer(x)
    assert commitment > 0 and not torch.equal(quantized, x)
    quantized.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
