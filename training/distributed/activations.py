"""Selective activation checkpointing: a block keeps some of its activations and computes the others again.

Kept are the outputs of attention and of every second matrix product, which are the costly ones; all else is computed
again in the backward pass (as in "Reducing Activation Recomputation", arXiv 2205.05198, and torchtitan's recipe).
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import torch
import torch.nn.attention.varlen  # registers its operator
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

WRAPPED = "_checkpoint_wrapped_module."  # what the wrapper adds to the names of weights
ATTENTION = {
    torch.ops.torch_attn._varlen_attn.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
}
PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default}


def checkpointed(block: nn.Module) -> nn.Module:
    """The block, wrapped."""
    return checkpoint_wrapper(block, checkpoint_impl=CheckpointImpl.NO_REENTRANT, context_fn=_contexts)


def plain_name(name: str) -> str:
    """The name of a weight without what the wrapper adds."""
    return name.replace(WRAPPED, "")


def _contexts():
    return create_selective_checkpoint_contexts(partial(_policy, Counter()))


def _policy(products: Counter, context, operator, *args, **kwargs) -> CheckpointPolicy:
    """`products` counts the matrix products of the forward pass and of its repetition."""
    if operator in ATTENTION:
        return CheckpointPolicy.MUST_SAVE
    if operator in PRODUCTS:
        products[context.is_recompute] += 1
        return CheckpointPolicy.MUST_SAVE if products[context.is_recompute] % 2 else CheckpointPolicy.PREFER_RECOMPUTE
    return CheckpointPolicy.PREFER_RECOMPUTE
