"""Fresh batch norms are measured once, on the first samples; others are left as they are."""

from __future__ import annotations

import torch
from torch import nn

from tests.training.distributed import tiny
from training.recipe import Schedule, find_stage
from training.stages.batch_norms import fresh_norms, measure_batch_norms

SCHEDULE = Schedule(lr=1e-3, batch=tiny.BATCH, steps=1, sequence_length=256)


def test_a_fresh_speech_adapter_writes_normalised_frames():
    stage, objective = find_stage("2.1b"), tiny.objective("2.1b", SCHEDULE)
    adapter = objective.model.speech_adapter
    [norm] = fresh_norms(adapter)
    objective.model.eval()
    batch = next(batch for batch in objective.passes(objective.numbers(0), 0) if batch.features is not None)
    with torch.no_grad():
        frames, lengths = objective.model.speech_encoder(batch.features, batch.lengths)
        outside = torch.arange(frames.shape[1]) >= lengths[:, None]
        x = frames.masked_fill(outside[:, :, None], 0.0).transpose(1, 2)
        expected = adapter.conv(nn.functional.pad(x, (0, adapter.conv.kernel_size[0] - 1)))
    measure_batch_norms(objective, stage)
    torch.testing.assert_close(norm.running_mean, expected.mean((0, 2)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, expected.var((0, 2)), atol=1e-5, rtol=1e-4)
    assert not norm.training and fresh_norms(adapter) == []


def test_measured_ones_are_kept():
    stage, objective = find_stage("2.1b"), tiny.objective("2.1b", SCHEDULE)
    norm = objective.model.speech_adapter.norm
    norm.running_mean.fill_(3.0)
    measure_batch_norms(objective, stage)
    assert (norm.running_mean == 3.0).all()
