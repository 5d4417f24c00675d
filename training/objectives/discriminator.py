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


class Discriminator(nn.Module):
    """One network a resolution; losses are means over them."""

    def __init__(self):
        super().__init__()
        self.networks = nn.ModuleList(SpectrogramDiscriminator(n_fft) for n_fft in FFT_SIZES)

    def loss(self, real: Tensor, generated: Tensor) -> Tensor:
        """The loss of the discriminator: real speech is 1, generated speech 0. Waveforms [b, samples]."""
        total = 0
        for network in self.networks:
            total = total + (network(real)[0] - 1).square().mean() + network(generated)[0].square().mean()
        return total / len(self.networks)

    def generator_loss(self, real: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of the codec: (adversarial loss, feature matching loss). Waveforms [b, samples]."""
        adversarial, matching = 0, 0
        for network in self.networks:
            score, features = network(generated)
            with torch.no_grad():
                wanted = network(real)[1]
            adversarial = adversarial + (score - 1).square().mean()
            for feature, want in zip(features, wanted, strict=True):
                matching = matching + F.l1_loss(feature, want) / want.abs().mean().clamp(min=1e-4) / len(features)
        return adversarial / len(self.networks), matching / len(self.networks)
