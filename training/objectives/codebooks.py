"""The training of codebooks: a k-means start, running means, and replacement of codewords that are not used.

Notable points:
- Nothing is quantized until enough vectors have been seen: the first codewords are k-means of what a partly trained
  encoder writes.
- All state is in buffers, so a resumed stage continues exactly where it was.
- The vectors of a step are collected over its passes and processes, and change the codebooks at its end.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parley.models.codec.base import Codebook, Quantizer
from training.distributed.process_group import from_rank_0, gather_rows

DECAY = 0.99  # of the running means, a step
DEAD = 0.05  # vectors a step, on average, under which a codeword is dead, relative to an even share
CHECK_EVERY = 50  # steps between searches for dead codewords


class CodebookTrainer(nn.Module):
    """Trains one codebook.

    Args:
        codebook: changed in place.
        start_after: vectors to see before the k-means start; at least as many as codewords.
    """

    def __init__(self, codebook: Codebook, start_after: int):
        super().__init__()
        codes, dim = codebook.weight.shape
        start_after = max(start_after, codes)
        self._codebook = [codebook]  # in a list, so that its weights are not part of this module's state
        self._collected: list[Tensor] = []  # vectors of the passes of this step, [n, dim] each
        self.register_buffer("waiting", torch.zeros(start_after, dim))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", torch.zeros(codes, dim))

    @property
    def codebook(self) -> Codebook:
        return self._codebook[0]

    @property
    def ready(self) -> bool:
        return int(self.seen) >= len(self.waiting)

    def collect(self, vectors: Tensor) -> None:
        """Takes vectors [n, dim] of a pass of this step."""
        self._collected.append(vectors.detach())

    @torch.no_grad()
    def finish_step(self) -> None:
        """Updates the codebook with what was collected in all processes; all must call it."""
        width, none = self.codebook.weight.shape[1], self.codebook.weight[:0]
        vectors = gather_rows(torch.cat([none, *(part.view(-1, width).to(none) for part in self._collected)]))
        self._collected.clear()
        if len(vectors):
            self.observe(vectors)

    def observe(self, vectors: Tensor) -> None:
        """Updates the codebook with all vectors [n, dim] of a training step."""
        if self.ready:
            return self._update(vectors)
        start = int(self.seen)
        first = vectors[: len(self.waiting) - start]
        self.waiting[start : start + len(first)] = first
        self.seen += len(first)
        if self.ready:
            self._start()
        return None

    def _start(self) -> None:
        weight = self.codebook.weight
        weight.copy_(kmeans(self.waiting, len(weight), self._generator()))
        from_rank_0(weight)
        ids = self.codebook.assign(self.waiting)
        share = torch.bincount(ids, minlength=len(weight)).float() / len(ids) * len(weight)
        self.counts.copy_(share.clamp(min=0.1))
        self.sums.copy_(weight * self.counts.unsqueeze(1))

    def _update(self, vectors: Tensor) -> None:
        weight = self.codebook.weight
        ids = self.codebook.assign(vectors)
        counts = torch.bincount(ids, minlength=len(weight)).float()
        sums = torch.zeros_like(self.sums).index_add_(0, ids, vectors.float())
        from_rank_0(sums)  # a GPU adds them in any order: without it the codebooks of the processes would drift apart
        # In units of an even share, so that the thresholds do not depend on the size of a batch.
        unit = len(weight) / counts.sum().clamp(min=1)
        self.counts.lerp_(counts * unit, 1 - DECAY)
        self.sums.lerp_(sums * unit, 1 - DECAY)
        weight.copy_(self.sums / self.counts.clamp(min=1e-3).unsqueeze(1))
        self.steps += 1
        if int(self.steps) % CHECK_EVERY == 0:
            self._replace_dead(vectors)

    def _replace_dead(self, vectors: Tensor) -> None:
        weight = self.codebook.weight
        dead = self.counts < DEAD
        drawn = torch.randint(len(vectors), (len(weight),), generator=self._generator())
        fresh = vectors[drawn.to(vectors.device)].to(weight.dtype)
        weight.copy_(torch.where(dead.unsqueeze(1), fresh, weight))
        self.counts.masked_fill_(dead, 0.5)
        self.sums.copy_(torch.where(dead.unsqueeze(1), weight * 0.5, self.sums))

    def _generator(self) -> torch.Generator:
        """The same in all processes, and after a resume."""
        return torch.Generator().manual_seed(int(self.steps))


class QuantizerTrainer(nn.Module):
    """Trains the codebooks of a quantizer, and quantizes so that the encoder gets a gradient."""

    def __init__(self, quantizer: Quantizer, start_after: int):
        super().__init__()
        self._quantizer = [quantizer]
        self.books = nn.ModuleList(CodebookTrainer(book, start_after) for book in quantizer.codebooks)

    @property
    def ready(self) -> bool:
        return all(book.ready for book in self.books)

    def finish_step(self) -> None:
        for book in self.books:
            book.finish_step()

    def forward(self, vectors: Tensor, learned: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [b, ..., dim] → (quantized vectors with a straight-through gradient, commitment loss [b]). Before the
        codebooks are ready: (the vectors themselves, zeros). Where `learned`, bool [b], the vectors are collected."""
        quantizer = self._quantizer[0]
        total, rest = torch.zeros_like(vectors), vectors.detach()
        for layer, books in enumerate(quantizer.rounds()):
            trainers = self.books[layer * quantizer.groups : (layer + 1) * quantizer.groups]
            parts = rest.chunk(quantizer.groups, -1)
            for trainer, part in zip(trainers, parts, strict=True):
                trainer.collect(part[learned].reshape(-1, part.shape[-1]))
            if not all(trainer.ready for trainer in trainers):
                return vectors, vectors.new_zeros(len(vectors))
            found = torch.cat([book(book.assign(part)) for book, part in zip(books, parts, strict=True)], -1)
            total, rest = total + found, rest - found
        return vectors + (total - vectors).detach(), (vectors - total).square().flatten(1).mean(1)


def kmeans(vectors: Tensor, clusters: int, generator: torch.Generator, rounds: int = 12) -> Tensor:
    """Lloyd's algorithm from `clusters` of the vectors [n, dim] drawn at random; empty clusters are drawn anew."""

    def draw() -> Tensor:
        return vectors[torch.randperm(len(vectors), generator=generator)[:clusters].to(vectors.device)]

    book = Codebook(clusters, vectors.shape[1]).to(vectors)
    book.weight.copy_(draw())
    for _ in range(rounds):
        ids = book.assign(vectors)
        counts = torch.bincount(ids, minlength=clusters).unsqueeze(1)
        sums = torch.zeros_like(book.weight).index_add_(0, ids, vectors)
        book.weight.copy_(torch.where(counts > 0, sums / counts.clamp(min=1), draw()))
    return book.weight
