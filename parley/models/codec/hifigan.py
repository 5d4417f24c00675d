"""The codec as published: a convolutional encoder and a HiFi-GAN generator, weight-normed throughout.

Notable points:
- Any sizes: rates, kernels, dilations, groups, residual rounds and speaker tokens come from the config alone.
- The generator adds the speaker's vector to every frame after the stage that has as many channels; the encoder takes
  the speaker from the stage with the same width.
- Sources: TiCodec (arXiv 2310.00014), HiFi-GAN (arXiv 2010.05646).
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from parley.config import HifiganCodecConfig
from parley.models.codec.base import CodecDecoder, Quantizer

SLOPE = 0.1  # of the leaky ReLU
LAST_ENCODER_SLOPE = 0.01  # of the one before the encoder's last convolution
FIRST_CHANNELS = 32  # of the encoder; each stage doubles them
LATENT = 512


def conv(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """A weight-normed convolution that keeps the length."""
    return weight_norm(nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2))


class ResBlock(nn.Module):
    """Kind "1": pairs of a dilated and a plain convolution. Kind "2": dilated convolutions alone. [b, channels, t]."""

    def __init__(self, kind: str, channels: int, kernel: int, dilations: tuple[int, ...]):
        super().__init__()
        self.convs1 = nn.ModuleList(conv(channels, channels, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(conv(channels, channels, kernel) for _ in dilations) if kind == "1" else None

    def forward(self, x: Tensor) -> Tensor:
        for i, first in enumerate(self.convs1):
            y = first(F.leaky_relu(x, SLOPE))
            if self.convs2 is not None:
                y = self.convs2[i](F.leaky_relu(y, SLOPE))
            x = x + y
        return x


class SpeakerEncoder(nn.Module):
    """[b, in, t] → one vector an utterance [b, out]: three convolutions, mean over time, a projection."""

    def __init__(self, sizes: tuple[int, int, int, int, int]):
        super().__init__()
        inputs, hidden, outputs, kernel, stride = sizes
        padding = (kernel - stride) // 2
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, kernel, stride, padding, bias=False)
            for a, b in ((inputs, hidden), (hidden, hidden), (hidden, outputs))
        )
        self.project = nn.Linear(outputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.convs:
            x = F.leaky_relu(layer(x), SLOPE)
        return self.norm(F.leaky_relu(self.project(x.mean(-1)), SLOPE))


class HifiganEncoder(nn.Module):
    """Waveform [b, samples] → (latents [b, t, 512], speaker [b, speaker_dim]); samples are padded to whole tokens."""

    def __init__(self, config: HifiganCodecConfig):
        super().__init__()
        self.hop, self.speaker_channels = config.hop_length, config.global_feature_conv[0]
        self.num_kernels = len(config.resblock_kernel_sizes)
        self.conv_pre = conv(1, FIRST_CHANNELS, 7)
        self.downs, self.resblocks, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        rates, kernels = config.upsample_rates[::-1], config.upsample_kernel_sizes[::-1]
        blocks = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))[::-1]
        channels = FIRST_CHANNELS
        widths = []
        for rate, kernel in zip(rates, kernels, strict=True):
            down = nn.Conv1d(channels, 2 * channels, kernel, rate, (kernel - rate) // 2)
            channels *= 2
            widths.append(channels)
            self.downs.append(weight_norm(down))
            self.resblocks.extend(ResBlock(config.resblock, channels, k, d) for k, d in blocks)
            self.norms.extend(nn.GroupNorm(channels // 16, channels, eps=1e-6) for _ in blocks)
        if self.speaker_channels not in widths:
            raise ValueError(
                f"the speaker is read from {self.speaker_channels} channels; the encoder's stages have {widths}"
            )
        self.voice_encoder = SpeakerEncoder(config.global_feature_conv)
        self.conv_post = nn.Conv1d(channels, LATENT, 3, padding=1)

    def _stages(self, waveform: Tensor, only_speaker: bool) -> tuple[Tensor, Tensor]:
        """(features after the last stage that ran, speaker)."""
        x = self.conv_pre(F.pad(waveform, (0, -waveform.shape[1] % self.hop)).unsqueeze(1))
        speaker = None
        for i, down in enumerate(self.downs):
            x = down(F.leaky_relu(x, SLOPE))
            total = 0
            for j in range(i * self.num_kernels, (i + 1) * self.num_kernels):
                total = self.norms[j](total + self.resblocks[j](x))
            x = total / self.num_kernels
            if x.shape[1] == self.speaker_channels:
                speaker = self.voice_encoder(x)
                if only_speaker:
                    break
        return x, speaker

    def speaker(self, waveform: Tensor) -> Tensor:
        """Only the speaker [b, speaker_dim]."""
        return self._stages(waveform, only_speaker=True)[1]

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        x, speaker = self._stages(waveform, only_speaker=False)
        return self.conv_post(F.leaky_relu(x, LAST_ENCODER_SLOPE)).transpose(1, 2), speaker


class HifiganGenerator(nn.Module):
    """Latents [b, t, 512] and a speaker [b, speaker_dim] → waveform [b, t × hop_length]."""

    def __init__(self, config: HifiganCodecConfig):
        super().__init__()
        self.speaker_channels = config.global_feature_conv[2]
        self.num_kernels = len(config.resblock_kernel_sizes)
        self.conv_pre = conv(LATENT, config.upsample_initial_channel, 7)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        channels, rate_so_far, reach = config.upsample_initial_channel, 1, 3.0
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, (kernel - rate) // 2)
            channels //= 2
            self.ups.append(weight_norm(up))
            reach += math.ceil(kernel / rate) / rate_so_far
            rate_so_far *= rate
            widest = 0
            for k, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True):
                self.resblocks.append(ResBlock(config.resblock, channels, k, dilations))
                plain = len(dilations) if config.resblock == "1" else 0
                widest = max(widest, (sum(dilations) + plain) * (k - 1) // 2)
            reach += widest / rate_so_far
        self.conv_post = conv(channels, 1, 7)
        self.reach = (math.ceil(reach + 3 / rate_so_far),) * 2

    def forward(self, latents: Tensor, speaker: Tensor) -> Tensor:
        return self.waveform(self.frames_of(latents, speaker))

    def frames_of(self, latents: Tensor, speaker: Tensor) -> Tensor:
        """[b, t × hop_length]: it is the waveform."""
        x = self.conv_pre(latents.transpose(1, 2))
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            blocks = self.resblocks[i * self.num_kernels : (i + 1) * self.num_kernels]
            x = sum(block(x) for block in blocks) / self.num_kernels
            if x.shape[1] == self.speaker_channels:
                x = x + speaker.unsqueeze(-1)
        return self.conv_post(F.leaky_relu(x, SLOPE)).tanh().squeeze(1)

    def waveform(self, frames: Tensor) -> Tensor:
        return frames


def build_hifigan_decoder(config: HifiganCodecConfig) -> CodecDecoder:
    return CodecDecoder(
        Quantizer(config.num_codes, LATENT, config.num_code_groups, config.num_residual_layers),
        Quantizer(config.speaker_codes, config.global_feature_conv[2], groups=config.num_speaker_tokens),
        HifiganGenerator(config),
        config.hop_length,
    )
