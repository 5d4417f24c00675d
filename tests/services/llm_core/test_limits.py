"""Limits that follow the model, the device and its free memory."""

from __future__ import annotations

import pytest
import torch

from parley.config import LanguageConfig, preset
from services.llm_core.limits import MIN_ENCODER_CACHE, Device, choose_limits, kv_bytes_per_token, measure
from services.llm_core.settings import LlmCoreSettings

GB = 10**9
NANO, VITA_7B = (preset(name).language for name in ("nano", "vita-7b"))
HALF_BILLION = LanguageConfig(
    vocab_size=151_936, hidden_size=896, intermediate_size=4864, num_layers=24, num_heads=14, num_kv_heads=2
)
WEIGHTS_7B = 15.2 * GB


def gpu(total: float, weights: float = WEIGHTS_7B) -> Device:
    return Device("cuda", int(total - weights), cores=16)


@pytest.mark.parametrize(
    ("config", "dtype_bytes", "device", "slots", "length", "prefill"),
    [
        (NANO, 4, Device("cpu", 8 * GB, cores=2), 16, 1024, 256),
        (NANO, 4, Device("cpu", 1 * GB, cores=2), 16, 1024, 256),
        (NANO, 4, Device("cpu", 64 * GB, cores=32), 256, 1024, 256),
        (NANO, 2, gpu(24 * GB, 0), 64, 1024, 1024),
        (VITA_7B, 2, gpu(80 * GB), 17, 32_768, 1024),
        (VITA_7B, 2, gpu(141 * GB), 33, 32_768, 1024),
        (VITA_7B, 2, gpu(40 * GB), 13, 16_384, 1024),
        (VITA_7B, 2, gpu(24 * GB), 9, 8192, 1024),
        (VITA_7B, 2, gpu(18 * GB), 5, 4096, 1024),
        (VITA_7B, 2, Device("cpu", 200 * GB, cores=32), 22, 32_768, 122),
        (HALF_BILLION, 4, Device("cpu", 14 * GB, cores=2), 14, 8192, 139),
        (HALF_BILLION, 2, gpu(80 * GB, GB), 64, 32_768, 1024),
    ],
)
def test_what_is_chosen(config, dtype_bytes, device, slots, length, prefill):
    limits = choose_limits(config, dtype_bytes, device, LlmCoreSettings())
    assert (limits.num_slots, limits.max_length, limits.prefill_tokens) == (slots, length, prefill)
    assert limits.live_bytes == slots * length * kv_bytes_per_token(config, dtype_bytes)
    assert limits.live_bytes + limits.idle_bytes <= 0.7 * device.free_bytes


@pytest.mark.parametrize(
    ("config", "dtype_bytes", "device", "fixed", "megabytes"),
    [
        (NANO, 4, Device("cpu", 1 * GB, cores=2), {}, 64),
        (VITA_7B, 2, gpu(80 * GB), {}, 3198),
        (VITA_7B, 2, gpu(18 * GB), {}, 187),
        (VITA_7B, 2, gpu(80 * GB), {"num_slots": 8, "max_length": 4096, "kv_memory_mb": 1792}, 64),  # none are idle
        (VITA_7B, 2, gpu(80 * GB), {"encoder_cache_mb": 3}, 3),
    ],
)
def test_the_encoder_cache_has_a_least_size(config, dtype_bytes, device, fixed, megabytes):
    limits = choose_limits(config, dtype_bytes, device, LlmCoreSettings(**fixed))
    assert limits.encoder_cache_bytes >> 20 == megabytes


def test_the_least_encoder_cache_holds_two_of_the_largest_pictures():
    vision = preset("vita-7b").vision
    tokens = (vision.max_tiles + 1) * (vision.image_size // vision.patch_size // vision.downsample) ** 2
    assert 2 * tokens * VITA_7B.hidden_size * 2 <= MIN_ENCODER_CACHE


@pytest.mark.parametrize(
    ("fixed", "slots", "length"),
    [
        ({"max_length": 4096}, 64, 4096),
        ({"num_slots": 20}, 20, 16_384),
        ({"num_slots": 2}, 2, 32_768),
        ({"num_slots": 6, "max_length": 1000}, 6, 1000),
        ({"kv_memory_mb": 4096}, 13, 4096),
    ],
)
def test_what_the_settings_fix_is_kept_and_the_rest_fits_around_it(fixed, slots, length):
    limits = choose_limits(VITA_7B, 2, gpu(80 * GB), LlmCoreSettings(**fixed))
    assert (limits.num_slots, limits.max_length) == (slots, length)


def test_budgets_of_the_settings_are_kept():
    settings = LlmCoreSettings(kv_memory_mb=100, prefill_tokens=7, encoder_cache_mb=3)
    limits = choose_limits(NANO, 4, Device("cpu", 8 * GB, cores=2), settings)
    assert limits.live_bytes + limits.idle_bytes == 100 << 20
    assert (limits.prefill_tokens, limits.encoder_cache_bytes) == (7, 3 << 20)


@pytest.mark.parametrize(
    ("device", "fixed", "says"),
    [
        (gpu(80 * GB), {"max_length": 40_000}, "the model's context is 32768"),
        (gpu(15.3 * GB), {}, "1 slots of 4096 tokens need 224 MiB of KV cache, and 66 MiB are there"),
        (gpu(80 * GB), {"num_slots": 300, "max_length": 4096}, "raise kv_memory_mb, lower num_slots or max_length"),
        (gpu(80 * GB), {"num_slots": 16, "kv_memory_mb": 512}, "16 slots of 4096 tokens need 3584 MiB"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(device, fixed, says):
    with pytest.raises(ValueError, match=says):
        choose_limits(VITA_7B, 2, device, LlmCoreSettings(**fixed))


def test_the_kv_cache_of_a_7b_is_56_kib_a_token():
    assert kv_bytes_per_token(VITA_7B, 2) == 57_344


def test_auto_can_be_said_in_the_environment(monkeypatch):
    monkeypatch.setenv("PARLEY_LLM_CORE_MAX_LENGTH", "auto")
    monkeypatch.setenv("PARLEY_LLM_CORE_NUM_SLOTS", "3")
    settings = LlmCoreSettings()
    assert (settings.max_length, settings.num_slots) == ("auto", 3)


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("services.llm_core.limits.CGROUP", tmp_path)
    assert measure(torch.device("cpu")).free_bytes > 2000  # no limit: what the machine has
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert measure(torch.device("cpu")).free_bytes == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert measure(torch.device("cpu")).free_bytes > 2000
