"""Vision encoder and adapter: pixels → embeddings that the language model reads (VITA-1.5 paper, 2.1).

The network is transformers' InternViT; here are its ends: the class token is dropped, a 2×2 pixel shuffle makes four
patches one token, and a two-layer MLP maps a token to the language model's width.
"""

from __future__ import annotations

from torch import Tensor, nn

from parley.config import VisionConfig


class VisionEncoder(nn.Module):
    """Tiles → tokens: InternViT without its class token, then the pixel shuffle."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
        from transformers.models.internvl.modeling_internvl import InternVLVisionModel

        side = config.image_size // config.patch_size
        if config.image_size % config.patch_size or side % config.downsample:
            raise ValueError(
                f"a tile of {config.image_size} px does not divide into patches of {config.patch_size} px "
                f"that come {config.downsample}×{config.downsample} to a token"
            )
        self.config = config
        self.tower = InternVLVisionModel(
            InternVLVisionConfig(
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                intermediate_size=config.intermediate_size,
                image_size=config.image_size,
                patch_size=config.patch_size,
                attention_bias=config.qkv_bias,
                use_qk_norm=config.qk_norm,
                norm_type=config.norm,
                layer_norm_eps=config.layer_norm_eps,
            )
        )
        # The library initialises positions with zeros, which gives a fresh model no places in its first steps.
        nn.init.trunc_normal_(self.tower.embeddings.position_embeddings, std=0.02)
        nn.init.trunc_normal_(self.tower.embeddings.cls_token, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """`[tiles, 3, image_size, image_size]` normalised pixels → `[tiles, n, token_size]`.

        n = (image_size / patch_size / downsample)² tokens a tile.
        """
        hidden = self.tower(pixels).last_hidden_state[:, 1:]
        return pixel_shuffle(hidden * self.config.feature_scale, self.config.downsample)


class VisionAdapter(nn.Sequential):
    """`[..., token_size]` → `[..., language_size]`: linear, GELU, linear, as published (`mlp2x_gelu`)."""

    def __init__(self, vision: VisionConfig, language_size: int) -> None:
        super().__init__(
            nn.Linear(vision.token_size, language_size),
            nn.GELU(),
            nn.Linear(language_size, language_size),
        )


def pixel_shuffle(patches: Tensor, factor: int) -> Tensor:
    """`[tiles, side², size]` → `[tiles, (side / factor)², size · factor²]`.

    Each token is a square of `factor²` neighbouring patches, joined row by row; tokens are row-major too
    (InternVL's v2 order).
    """
    tiles, count, size = patches.shape
    side = int(count**0.5)
    squares = patches.reshape(tiles, side // factor, factor, side // factor, factor, size).transpose(2, 3)
    return squares.reshape(tiles, (side // factor) ** 2, factor * factor * size)
