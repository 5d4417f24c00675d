"""Names of tensors in published checkpoints: one function for a part and layout, our name → the published place."""

from __future__ import annotations

import re

from parley.checkpoints.importers.transfer import Naming, Place

# Substitutions are tried in order, each on what the one before left.
INTERNVIT = (
    (r"^tower\.", ""),
    (r"^embeddings\.cls_token$", "embeddings.class_embedding"),
    (r"^embeddings\.patch_embeddings\.projection\.", "embeddings.patch_embedding."),
    (r"^embeddings\.position_embeddings$", "embeddings.position_embedding"),
    (r"^encoder\.layer\.", "encoder.layers."),
    (r"\.attention\.projection_layer\.", ".attn.proj."),
    (r"\.attention\.([qk])_norm\.", r".attn.\1_norm."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.lambda_([12])$", r".ls\1"),
)
SPEECH_ENCODER = (
    (r"^(mean|istd)$", r"global_cmvn.\1"),
    (r"^conv1\.", "enc.0.core.conv.0."),
    (r"^conv2\.", "enc.0.core.conv.2."),
    (r"^project\.", "enc.0.core.out.0."),
    (r"^embed\.", "enc.1.embed.0."),
    (r"^embed_norm\.", "enc.1.embed.1."),
    (r"^norm\.", "enc.1.after_norm."),
    (r"^blocks\.", "enc.1.encoders."),
    (r"\.attention\.position\.", ".self_attn.linear_pos."),
    (r"\.attention\.out\.", ".self_attn.linear_out."),
    (r"\.attention\.query\.", ".self_attn.linear_q."),
    (r"\.attention\.key\.", ".self_attn.linear_k."),
    (r"\.attention\.value\.", ".self_attn.linear_v."),
    (r"\.attention\.content_bias$", ".self_attn.pos_bias_u"),
    (r"\.attention\.position_bias$", ".self_attn.pos_bias_v"),
    (r"\.up\.", ".feed_forward.w_1."),
    (r"\.down\.", ".feed_forward.w_2."),
    (r"\.attention_norm\.", ".norm1."),
    (r"\.feed_forward_norm\.", ".norm2."),
)
SPEECH_ADAPTER = ((r"^conv\.", "conv1d2."), (r"^norm\.", "bn2."))
SPEECH_PROMPT = ((r"^vectors$", "prompt_embeddings.weight"),)
SPEECH_DECODER = ((r"^nar\.", "layers_pre_nn."), (r"^ar\.", "layers."), (r"^head\.", "out_fnn."))
WEIGHT_NORM = (
    (r"\.parametrizations\.weight\.original0$", ".weight_g"),
    (r"\.parametrizations\.weight\.original1$", ".weight_v"),
)
CODEC_ENCODER = (
    *WEIGHT_NORM,
    (r"^downs\.", "ups."),
    (r"^norms\.", "normalize."),
    (r"^voice_encoder\.convs\.0\.", "GlobalTokenEncoder.conv.0."),
    (r"^voice_encoder\.convs\.1\.", "GlobalTokenEncoder.conv.2."),
    (r"^voice_encoder\.convs\.2\.", "GlobalTokenEncoder.conv.4."),
    (r"^voice_encoder\.project\.", "GlobalTokenEncoder.fn.0."),
    (r"^voice_encoder\.norm\.", "GlobalTokenEncoder.fn.2."),
)


def renamed(prefix: str, substitutions: tuple[tuple[str, str], ...]) -> Naming:
    """A naming by substitutions, behind a prefix."""

    def naming(name: str) -> Place:
        for pattern, replacement in substitutions:
            name = re.sub(pattern, replacement, name)
        return Place(prefix + name)

    return naming


def original_internvit(prefix: str) -> Naming:
    """The layout in which InternViT was published first (`intern_vit_6b`): query, key and value fused."""
    plain = renamed(prefix, INTERNVIT)

    def naming(name: str) -> Place:
        key = plain(name).key
        if fused := re.search(r"\.attention\.([qkv])_proj\.", key):
            return Place(key.replace(fused[0], ".attn.qkv."), "qkv".index(fused[1]))
        return Place(key)

    return naming


def native_internvit(prefix: str) -> Naming:
    """The layout of transformers' own classes."""
    return renamed(prefix, ((r"^tower\.", ""),))


def codec_encoder(prefix: str, resblock: str) -> Naming:
    """The published codec's encoder."""
    return renamed(prefix, (*CODEC_ENCODER, *_resblocks(resblock)))


def codec_decoder(prefix: str, groups: int, resblock: str) -> Naming:
    """The published codec's codebooks and generator; `groups` codebooks to a residual round."""
    generator = renamed(f"{prefix}generator.", ((r"^generator\.", ""), *WEIGHT_NORM, *_resblocks(resblock)))

    def naming(name: str) -> Place:
        if name.startswith("generator."):
            return generator(name)
        kind, _, number, _ = name.split(".")
        if kind == "voice_quantizer":
            return Place(f"{prefix}quantizer.quantizer_modules_globaltokens.{number}.embedding.weight")
        # The first round's list has no number, the second's is 2.
        again, group = divmod(int(number), groups)
        return Place(f"{prefix}quantizer.quantizer_modules{again + 1 if again else ''}.{group}.embedding.weight")

    return naming


def _resblocks(kind: str) -> tuple[tuple[str, str], ...]:
    """Kind 2 has one list of convolutions, and calls it so."""
    return ((r"^(resblocks\.\d+)\.convs1\.", r"\1.convs."),) if kind == "2" else ()
