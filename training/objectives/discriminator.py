"""The discriminator of the codec: small convolutional networks over spectrograms of several resolutions.

Notable points:
- Each network reads real and imaginary part of an STFT as two channels and scores every patch as real or generated.
- Few channels, and strides along frequency in the first layers: on a CPU it costs less than the codec itself.
- Least-squares losses and feature matching are those of HiFi-GAN (arXiv 2010.05646), STFT discriminators those of
  EnCodec (arXiv 2210.13438).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

FFT_SIZES = (1024, 400)


class SpectrogramDiscriminator(nn.Module):
    """Waveform [b, samples] → (scores [b, 1, bands, frames], features of each layer)."""

    def __init__(self, n_fft: int, channels: int = 8):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        sizes = ((2, channels), (channels, 2 * channels), (2 * channels, 4 * channels), (4 * channels, 4 * channels))
        strides = ((2, 1), (2, 1), (2, 2), (2, 1))
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (7, 3), stride, padding=(3, 1)))
            for (a, b), stride in zip(sizes, strides, strict=True)
        )
        self.score = weight_norm(nn.Conv2d(4 * channels, 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        spectrum = torch.stft(waveform, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)
        # The square root of the magnitude, so that quiet harmonics count too.
        spectrum = spectrum / (spectrum.abs() + 1e-4).sqrt()
        x = torch.stack((spectrum.real, spectrum.imag), 1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.score(x), features


Judgement = list[tuple[Tensor, list[Tensor]]]  # of each network: scores, features of each layer


class Discriminator(nn.Module):
    """One network a resolution."""

    def __init__(self):
        super().__init__()
        self.networks = nn.ModuleList(SpectrogramDiscriminator(n_fft) for n_fft in FFT_SIZES)

    def forward(self, waveforms: Tensor) -> Judgement:
        """Waveforms [b, samples]."""
        return [network(waveforms) for network in self.networks]

    def frozen(self, waveforms: Tensor) -> Judgement:
        """As `forward`, with a gradient for the waveforms and none for the weights."""
        weights = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return functional_call(self, weights, (waveforms,))


def discriminator_loss(real: Judgement, generated: Judgement) -> Tensor:
    """The loss of the discriminator for each waveform [b]: real speech is 1, generated speech 0."""
    total = 0
    for (real_score, _), (score, _) in zip(real, generated, strict=True):
        total = total + _mean((real_score - 1).square()) + _mean(score.square())
    return total / len(real)


def generator_loss(real: Judgement, generated: Judgement) -> tuple[Tensor, Tensor]:
    """The losses of the codec for each waveform [b]: (adversarial loss, feature matching loss)."""
    adversarial, matching = 0, 0
    for (_, wanted), (score, features) in zip(real, generated, strict=True):
        adversarial = adversarial + _mean((score - 1).square())
        for feature, want in zip(features, wanted, strict=True):
            size = _mean(want.detach().abs()).clamp(min=1e-4)
            matching = matching + _mean((feature - want.detach()).abs()) / size / len(features)
    return adversarial / len(real), matching / len(real)


def _mean(tensor: Tensor) -> Tensor:
    """Over all dimensions but the first."""
    return tensor.flatten(1).mean(1)
