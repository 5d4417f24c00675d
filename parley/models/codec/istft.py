"""The codec of `nano`: mel front and ConvNeXt encoder; ConvNeXt generator with an inverse-STFT head.

Notable points:
- The network runs at 40 and 160 frames a second and an inverse Fourier transform makes the samples, so that a second of
  speech decodes in some ten milliseconds on one CPU core (the head is that of Vocos, arXiv 2306.00814).
- The generator's convolutions are padded unevenly, more to the left than to the right, so that a stream waits for few
  tokens. A chunk decoded with `reach` tokens around it has the samples of decoding everything at once.
- No norm over time, and a constant gain after the overlap-add: nothing depends on where a chunk was cut.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parley.config import IstftCodecConfig
from parley.models.codec.base import CodecDecoder, Quantizer

FRONT_FRAMES = 2  # mel frames a token
FRONT_FFT = 1024
SPEAKER_CODE_DIM = 8


def mel_filters(n_fft: int, sample_rate: int, num_bins: int) -> Tensor:
    """Triangles evenly spaced on the mel scale from 0 Hz to half the rate: [n_fft // 2 + 1, num_bins]."""
    from transformers.audio_utils import mel_filter_bank  # slow to import, and only encoders and training need it

    filters = mel_filter_bank(n_fft // 2 + 1, num_bins, 0.0, sample_rate / 2, sample_rate, mel_scale="htk")
    return torch.from_numpy(filters).float()


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer network at each frame: [b, t, channels] → same."""

    def __init__(self, channels: int, kernel: int, ahead: int, scale: float):
        super().__init__()
        self.pad = (kernel - 1 - ahead, ahead)
        self.depthwise = nn.Conv1d(channels, channels, kernel, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.rise = nn.Linear(channels, 3 * channels)
        self.fall = nn.Linear(3 * channels, channels)
        self.gain = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(F.pad(x.transpose(1, 2), self.pad)).transpose(1, 2)
        return x + self.gain * self.fall(F.gelu(self.rise(self.norm(y))))


class IstftEncoder(nn.Module):
    """Waveform [b, samples] → (latents [b, t, code_dim], speaker [b, num_speaker_tokens × 8]); samples are padded with
    zeros to whole tokens."""

    def __init__(self, config: IstftCodecConfig):
        super().__init__()
        self.hop = config.hop_length
        self.mel_hop = config.hop_length // FRONT_FRAMES
        if config.hop_length % FRONT_FRAMES:
            raise ValueError(f"hop_length must be a multiple of {FRONT_FRAMES}; got {config.hop_length}")
        channels, first = config.encoder_channels, config.encoder_layers // 2
        self.register_buffer("window", torch.hann_window(FRONT_FFT), persistent=False)
        self.register_buffer(
            "filters", mel_filters(FRONT_FFT, config.sample_rate, config.num_mel_bins), persistent=False
        )
        self.stem = nn.Conv1d(config.num_mel_bins, channels, 5, padding=2)
        self.fast = nn.Sequential(
            *(ConvNeXtBlock(channels, 7, 3, 1 / config.encoder_layers) for _ in range(first)), nn.LayerNorm(channels)
        )
        self.down = nn.Conv1d(channels, channels, 2 * FRONT_FRAMES, FRONT_FRAMES, padding=FRONT_FRAMES // 2)
        self.slow = nn.Sequential(
            *(ConvNeXtBlock(channels, 7, 3, 1 / config.encoder_layers) for _ in range(config.encoder_layers - first)),
            nn.LayerNorm(channels),
            nn.Linear(channels, config.code_dim),
        )
        self.voice_head = nn.Sequential(
            nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, config.num_speaker_tokens * SPEAKER_CODE_DIM)
        )

    def mel(self, waveform: Tensor) -> Tensor:
        """[b, samples] → log mel [b, bins, 2 t]."""
        waveform = F.pad(waveform, (0, -waveform.shape[1] % self.hop))
        edge = FRONT_FFT - self.mel_hop
        waveform = F.pad(waveform, (edge // 2, edge - edge // 2))
        spectrum = torch.stft(
            waveform, FRONT_FFT, self.mel_hop, window=self.window, center=False, return_complex=True
        ).abs()
        return (spectrum.transpose(1, 2) @ self.filters).clamp(min=1e-3).log().transpose(1, 2)

    def _fast(self, waveform: Tensor) -> Tensor:
        return self.fast(self.stem(self.mel(waveform)).transpose(1, 2))

    def _speaker(self, fast: Tensor) -> Tensor:
        return self.voice_head(fast.mean(1))

    def speaker(self, waveform: Tensor) -> Tensor:
        """Only the speaker [b, speaker_dim], from speech of any length and content."""
        return self._speaker(self._fast(waveform))

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        fast = self._fast(waveform)
        slow = self.down(fast.transpose(1, 2)).transpose(1, 2)
        return self.slow(slow), self._speaker(fast)


class IstftGenerator(nn.Module):
    """Latents [b, t, code_dim] at 40 Hz and a speaker [b, speaker_dim] → waveform [b, t × hop_length]."""

    def __init__(self, config: IstftCodecConfig):
        super().__init__()
        self.frames = config.frames_per_token
        self.n_fft, self.hop = config.n_fft, config.hop_length // config.frames_per_token
        if config.hop_length % config.frames_per_token or self.n_fft != 4 * self.hop:
            raise ValueError(
                f"n_fft must be four of the head's hops (4 × {config.hop_length} / {config.frames_per_token}); "
                f"got {self.n_fft}"
            )
        channels, layers = config.decoder_channels, config.decoder_layers
        self.num_slow = max(layers // 3, 1)
        self.stem = nn.Conv1d(config.code_dim, channels, 3, padding=1)
        self.voice = nn.Linear(config.num_speaker_tokens * SPEAKER_CODE_DIM, 2 * channels)
        # Of the blocks at token rate only the first looks ahead, by one token; those at frame rate by one frame each.
        self.slow = nn.ModuleList(ConvNeXtBlock(channels, 5, int(i == 0), 1 / layers) for i in range(self.num_slow))
        self.up = nn.Linear(channels, channels * self.frames)
        self.fast = nn.ModuleList(ConvNeXtBlock(channels, 7, 1, 1 / layers) for _ in range(layers - self.num_slow))
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, self.n_fft + 2)
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)

    @property
    def reach(self) -> tuple[int, int]:
        """Tokens on the left and on the right that a token's samples depend on."""
        fast = len(self.fast)
        # The window of 4 hops reaches 1.5 frames to each side of its own frame.
        behind, ahead = 1 + 3 + 4 * (self.num_slow - 1), 1 + 1
        return behind + math.ceil((5 * fast + 2) / self.frames), ahead + math.ceil((fast + 2) / self.frames)

    def forward(self, latents: Tensor, speaker: Tensor) -> Tensor:
        return self.waveform(self.frames_of(latents, speaker))

    def frames_of(self, latents: Tensor, speaker: Tensor) -> Tensor:
        """Log magnitude and phase of each frame of the head: [b, frames, n_fft + 2]."""
        early, late = self.voice(speaker).unsqueeze(1).chunk(2, -1)
        x = self.stem(latents.transpose(1, 2)).transpose(1, 2) + early
        for block in self.slow:
            x = block(x)
        b, t, channels = x.shape
        x = self.up(x).view(b, t * self.frames, channels) + late
        for block in self.fast:
            x = block(x)
        return self.head(self.norm(x))

    def waveform(self, head: Tensor) -> Tensor:
        """Frames [b, frames, n_fft + 2] → [b, frames × hop]: inverse Fourier transform and overlap-add."""
        magnitude, phase = head.float().chunk(2, -1)
        # The limit keeps the magnitudes of an untrained head finite.
        spectrum = torch.polar(magnitude.clamp(max=6).exp(), phase)
        frames = torch.fft.irfft(spectrum, self.n_fft) * self.window
        b, n, _ = frames.shape
        # Each frame is four hops long: quarter q of frame f lands on hop f + q.
        quarters = frames.view(b, n, 4, self.hop)
        hops = sum(F.pad(quarters[:, :, q], (0, 0, q, 3 - q)) for q in range(4))
        waveform = hops.reshape(b, -1) / 2  # four hann windows a quarter apart add up to 2
        edge = 3 * self.hop // 2
        return waveform[:, edge : edge + n * self.hop].clamp(-1, 1)


def build_istft_decoder(config: IstftCodecConfig) -> CodecDecoder:
    return CodecDecoder(
        Quantizer(config.num_codes, config.code_dim),
        Quantizer(config.speaker_codes, config.num_speaker_tokens * SPEAKER_CODE_DIM, groups=config.num_speaker_tokens),
        IstftGenerator(config),
        config.hop_length,
    )
