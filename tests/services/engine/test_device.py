import pytest

from parley.config import PRESETS
from parley.models.parley import Parley
from services.engine import device as devices
from services.engine.device import (
    NANO_PARAMETERS,
    choose_device,
    choose_dtype,
    choose_threads,
    device_kind,
    num_parameters,
    resolve,
)
from services.engine.settings import AUTO
from services.registry import SERVICES

SMALL, LARGE = NANO_PARAMETERS - 1, NANO_PARAMETERS
PARTS = {
    "vision_encoder": ("vision_encoder", "vision_adapter"),
    "speech_encoder": ("speech_encoder", "speech_adapter"),
    "llm_core": ("language",),
    "speech_decoder": ("speech_decoder", "codec_decoder"),
}


@pytest.mark.parametrize(
    ("wanted", "num_gpus", "device"),
    [
        ("auto", 1, "cuda:0"),
        ("auto", 0, "cpu"),
        ("cpu", 1, "cpu"),
        ("cuda", 1, "cuda"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_device(wanted, num_gpus, device):
    assert choose_device(wanted, num_gpus) == device


@pytest.mark.parametrize(
    ("wanted", "num_gpus", "reason"),
    [
        ("tpu!", 1, "no device 'tpu!'"),
        ("mps", 0, "engines do not run on mps; use auto, cpu or cuda:0"),
        ("cuda", 0, "torch finds 0 GPUs"),
        ("cuda:1", 1, "torch finds 1 GPUs"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(wanted, num_gpus, reason):
    with pytest.raises(ValueError, match=reason):
        choose_device(wanted, num_gpus)


@pytest.mark.parametrize(
    ("size", "has_fast_bf16", "dtype"),
    [
        (SMALL, True, "float32"),
        (SMALL, False, "float32"),
        (LARGE, True, "bfloat16"),
        (LARGE, False, "float32"),
        (7_600_000_000, True, "bfloat16"),
    ],
)
def test_dtype(size, has_fast_bf16, dtype):
    assert choose_dtype(size, lambda: has_fast_bf16) == dtype


@pytest.mark.parametrize(
    ("kind", "size", "cores", "threads"),
    [("cpu", SMALL, 16, 1), ("cpu", LARGE, 16, 8), ("cpu", LARGE, 1, 1), ("cuda", LARGE, 16, 1)],
)
def test_threads(kind, size, cores, threads):
    assert choose_threads(kind, size, cores) == threads


def test_parameters_are_counted_without_building_them(tiny_config):
    parts = ("vision_encoder", "language", "codec_decoder")
    model = Parley(tiny_config, parts)
    assert num_parameters(tiny_config, parts) == sum(parameter.numel() for parameter in model.parameters())
    assert num_parameters(PRESETS["vita-7b"], ("language",)) == 7_615_616_512


@pytest.mark.parametrize("name", SERVICES)
def test_nano_is_small_and_the_7b_model_is_large_for_every_service(name):
    assert (
        num_parameters(PRESETS["nano"], PARTS[name]) < NANO_PARAMETERS < num_parameters(PRESETS["vita-7b"], PARTS[name])
    )


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(("num_gpus", "kind"), [(0, "cpu"), (1, "cuda")])
def test_no_setting_stays_auto(monkeypatch, name, num_gpus, kind):
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(devices, "has_fast_bf16", lambda kind: True)
    settings = SERVICES[name].load_settings()
    resolved = resolve(settings, PRESETS["vita-7b"], PARTS[name])
    assert (device_kind(resolved.device), resolved.dtype) == (kind, "bfloat16")
    for field in ("threads", *settings.DEVICE_DEFAULTS["cpu"]):
        assert isinstance(getattr(resolved, field), int)
    assert settings.device == AUTO  # the settings themselves are as they were


@pytest.mark.parametrize("name", SERVICES)
def test_device_defaults_are_of_the_same_settings_on_every_device(name):
    defaults = type(SERVICES[name].load_settings()).DEVICE_DEFAULTS
    assert set(defaults) == set(devices.KINDS) and set(defaults["cpu"]) == set(defaults["cuda"])


def test_what_is_set_is_kept(tiny_config):
    settings = (
        SERVICES["vision_encoder"]
        .load_settings()
        .model_copy(update={"device": "cpu", "dtype": "bfloat16", "threads": 3, "max_batch": 5})
    )
    assert resolve(settings, tiny_config, ("vision_adapter",)) == settings
