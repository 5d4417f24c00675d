"""Log mel energies of speech, the input of the speech encoder: of a whole utterance, or while it is spoken."""

from __future__ import annotations

import kaldi_native_fbank
import numpy as np
import torch
from torch import Tensor

from parley.config import SpeechConfig


def options_of(config: SpeechConfig) -> kaldi_native_fbank.FbankOptions:
    """Kaldi's filter bank as the published model uses it: no dither, no energy floor, Povey window, snipped edges."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = config.sample_rate
    options.frame_opts.frame_length_ms = config.frame_length_ms
    options.frame_opts.frame_shift_ms = config.frame_shift_ms
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "povey"
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = config.num_mel_bins
    options.energy_floor = 0.0
    return options


class MelFrames:
    """One utterance: samples in, the mel frames that they complete out. Frames are the same however it is cut."""

    def __init__(self, config: SpeechConfig):
        self._rate, self._bins = config.sample_rate, config.num_mel_bins
        self._bank = kaldi_native_fbank.OnlineFbank(options_of(config))
        self._made = 0  # frames so far

    def feed(self, samples: np.ndarray) -> Tensor:
        """float32 [samples] in [-1, 1] that follow those before → float32 [new frames, num_mel_bins]."""
        # Kaldi expects 16-bit values; its binding takes a list faster than an array.
        self._bank.accept_waveform(self._rate, (samples * 32768).tolist())
        first, self._made = self._made, self._bank.num_frames_ready
        frames = torch.empty(self._made - first, self._bins)
        for row, number in zip(frames.numpy(), range(first, self._made), strict=True):
            row[:] = self._bank.get_frame(number)
        self._bank.pop(len(frames))  # frees them
        return frames


def fbank(waveform: np.ndarray | Tensor, config: SpeechConfig) -> Tensor:
    """float [samples] in [-1, 1] at `config.sample_rate` → log mel energies, float32 [frames, num_mel_bins].

    Frame t covers `frame_length_ms` from t × `frame_shift_ms`; a remainder shorter than a frame is left out.
    """
    samples = np.asarray(waveform, dtype=np.float32)
    if samples.ndim != 1:
        raise ValueError(f"speech is one channel, [samples], not {list(samples.shape)}")
    return MelFrames(config).feed(samples)
