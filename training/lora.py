"""LoRA (arXiv 2106.09685): the language model's weights stay as they are, and small matrices beside them are trained.

Notable points:
- `peft` makes and computes the adapters, beside the linear layers of each block; tables and output layer have none.
- The encoders are frozen too: training them would take more memory than all the rest. What is between them and the
  language model is trained as always.
- A checkpoint has no adapters: they are added to the weights when it is written, so that it is a plain Qwen2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor, nn

from training.lora_options import LoraOptions

ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ADAPTER = "default"  # peft's name of the only one
DOWN, UP = f"lora_A.{ADAPTER}.weight", f"lora_B.{ADAPTER}.weight"


def inject(language: nn.Module, options: LoraOptions) -> None:
    """Puts fp32 adapters into a Qwen2, freshly initialised, and freezes all else. They change nothing until trained."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=list(ADAPTED)
    )
    inject_adapter_in_model(config, language, ADAPTER)
    for parameter in language.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def trainable(part: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of a part that a stage trains: its adapters, or all of them where there are none."""
    adapters = [parameter for name, parameter in part.named_parameters() if is_adapter(name)]
    return iter(adapters or part.parameters())


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name belongs to an adapter."""
    return name.endswith((DOWN, UP))


def is_adapted(name: str, adapters: Mapping[str, Tensor]) -> bool:
    """Whether a weight of the plain model is changed by one of the adapters."""
    return name.removesuffix("weight") + DOWN in adapters


def merge(
    base: Iterable[tuple[str, Tensor]], adapters: Mapping[str, Tensor], options: LoraOptions
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a plain Qwen2, one at a time: each adapted weight is W + alpha / rank · B A, in fp32.

    Args:
        base: the tensors before `inject`.
        adapters: as the model's state dict names them.
    """
    for name, tensor in base:
        if is_adapted(name, adapters):
            down, up = (adapters[name.removesuffix("weight") + end].float() for end in (DOWN, UP))
            tensor = tensor.float() + options.alpha / options.rank * (up @ down)
        yield name, tensor
