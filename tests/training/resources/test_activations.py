"""What is planned to be kept of a forward pass is what blocks really keep."""

from __future__ import annotations

import gc
from weakref import WeakSet

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from parley.config import LanguageConfig, VisionConfig
from parley.models.language import build_language
from parley.models.vision import VisionEncoder
from training.distributed import activations
from training.distributed.activations import checkpointed
from training.lora import LoraOptions, inject
from training.resources.activations import BF16, FP32, _language, _vision, _whole, saved_bytes

SIZES = {"hidden_size": 64, "intermediate_size": 192, "num_heads": 4}
TOKENS, FEW, MANY = 50, 1, 4


class Alive(TorchDispatchMode):
    """Knows the storages that were made inside and are still there; those of `module`'s weights are not counted."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.weights = {parameter.data_ptr() for parameter in module.parameters()}
        self.made: WeakSet[torch.UntypedStorage] = WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        self.made.update(t.untyped_storage() for t in tree_leaves(outputs) if isinstance(t, torch.Tensor))
        return outputs

    @property
    def bytes(self) -> int:
        gc.collect()
        sizes = {storage.data_ptr(): storage.nbytes() for storage in self.made}
        return sum(size for place, size in sizes.items() if place not in self.weights)


@pytest.fixture(autouse=True)
def attention_as_on_a_gpu(monkeypatch):
    """What is kept of attention on a GPU is kept of the CPU's operator here."""
    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    monkeypatch.setattr(activations, "ATTENTION", activations.ATTENTION | {operator})


def kept(blocks: torch.nn.ModuleList, forward) -> int:
    for number, block in enumerate(blocks):
        blocks[number] = checkpointed(block)
    with Alive(blocks) as alive:
        output = forward()
    assert output.requires_grad
    return alive.bytes


def language_kept(layers: int, lora: LoraOptions | None) -> int:
    language = build_language(LanguageConfig(vocab_size=32, num_layers=layers, num_kv_heads=2, **SIZES)).train()
    if lora is not None:
        inject(language, lora)
    embeddings = torch.randn(1, TOKENS, SIZES["hidden_size"], requires_grad=True)
    return kept(language.model.layers, lambda: language.model(inputs_embeds=embeddings, use_cache=False)[0])


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2, dropout=0)])
def test_blocks_of_the_language_model(lora: LoraOptions | None) -> None:
    layers = (language_kept(MANY, lora) - language_kept(FEW, lora)) / (MANY - FEW)
    config = LanguageConfig(vocab_size=32, num_layers=1, num_kv_heads=2, **SIZES)
    whole = BF16 * _whole(SIZES["hidden_size"], SIZES["intermediate_size"])  # of the block that is computed again
    planned = (_language(config, lora is not None) - whole) / BF16 * FP32 * TOKENS  # the test computes in fp32
    assert layers == pytest.approx(planned, rel=0.1)


def test_blocks_of_the_vision_encoder() -> None:
    def measured(layers: int) -> int:
        encoder = VisionEncoder(VisionConfig(image_size=56, patch_size=7, num_layers=layers, **SIZES)).train()
        return kept(encoder.tower.encoder.layer, lambda: encoder(torch.randn(1, 3, 56, 56)))

    layers = (measured(MANY) - measured(FEW)) / (MANY - FEW)
    config = VisionConfig(image_size=56, patch_size=7, num_layers=1, **SIZES)
    whole = BF16 * _whole(SIZES["hidden_size"], SIZES["intermediate_size"])
    assert layers == pytest.approx((_vision(config) - whole) / BF16 * FP32 * (64 + 1), rel=0.1)


def test_what_autograd_keeps_is_counted_once_and_without_weights() -> None:
    with torch.device("meta"):
        layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
        assert saved_bytes(layers, torch.empty(3, 8)) == 4 * 3 * (8 + 16)  # ReLU keeps what the next layer reads
