"""The codec's adversary: small convolutional judges of the spectrogram at several resolutions.

Notable points:
- Each judge sees real and imaginary part of an STFT as two channels and says of every patch whether it is real.
- Few channels and strides along frequency early: on a CPU it costs less than the codec itself.
- Least-squares losses and feature matching are HiFi-GAN's (arXiv 2010.05646), STFT judges EnCodec's (arXiv 2210.13438).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

FFT_SIZES = (1024, 400)


class SpectrogramJudge(nn.Module):
    """Waveform [b, samples] → (verdicts [b, 1, bands, frames], features of each layer)."""

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
        self.verdict = weight_norm(nn.Conv2d(4 * channels, 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        spectrum = torch.stft(waveform, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)
        # The square root of the magnitude: quiet harmonics count, loud ones do not drown them.
        spectrum = spectrum / (spectrum.abs() + 1e-4).sqrt()
        x = torch.stack((spectrum.real, spectrum.imag), 1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.verdict(x), features


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.judges = nn.ModuleList(SpectrogramJudge(n_fft) for n_fft in FFT_SIZES)

    def loss(self, real: Tensor, made: Tensor) -> Tensor:
        """What the adversary minimises: real speech is 1, made speech 0. Waveforms [b, samples]."""
        total = 0
        for judge in self.judges:
            total = total + (judge(real)[0] - 1).square().mean() + judge(made)[0].square().mean()
        return total / len(self.judges)

    def deceive(self, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """What the codec minimises: (made speech is taken for real, its features are like those of the real)."""
        fooled, matched = 0, 0
        for judge in self.judges:
            verdict, features = judge(made)
            with torch.no_grad():
                wanted = judge(real)[1]
            fooled = fooled + (verdict - 1).square().mean()
            for feature, want in zip(features, wanted, strict=True):
                matched = matched + F.l1_loss(feature, want) / want.abs().mean().clamp(min=1e-4) / len(features)
        return fooled / len(self.judges), matched / len(self.judges)
