"""Speech decoder: text tokens' language embeddings → codec tokens (paper 2.1).

Notable points:
- NAR: bidirectional Llama layers over the text. AR: causal Llama layers that read [bos] + the output of NAR as a prefix
  that attends to itself whole, then emit one codec token a frame, from sos to eos.
- A language embedding is cut into vectors of the decoder's width, so no projection stands between the two models.
- Two kinds of position. `plain`: vectors and tokens are counted, as published. `expected_time`: a text vector has the
  position of the frame at which its token should begin, codec token t has position t; the buffer `token_frames` holds
  how many frames each token of the vocabulary lasts. Text and speech share one time axis, so the alignment is given.
- Generation, for many sequences at once, is in `speech_decoder_step`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from parley.config import SpeechDecoderConfig
from parley.models.rotary import CosSin, angles, rotate
from parley.models.speech_decoder_step import DecoderSlots


class Attention(nn.Module):
    def __init__(self, config: SpeechDecoderConfig):
        super().__init__()
        size = config.hidden_size
        self.num_heads, self.dropout = config.num_heads, config.dropout
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)

    def heads(self, x: Tensor, cos_sin: CosSin) -> tuple[Tensor, Tensor, Tensor]:
        """[b, n, size] → queries, keys (both rotated) and values, each [b, heads, n, head_dim]."""
        b, n, _ = x.shape
        q, k, v = (
            project(x).view(b, n, self.num_heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        return rotate(q, cos_sin), rotate(k, cos_sin), v

    def merge(self, attended: Tensor) -> Tensor:
        """[b, heads, n, head_dim] → [b, n, size]."""
        return self.o_proj(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, config: SpeechDecoderConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """A Llama layer; its names are Llama's."""

    def __init__(self, config: SpeechDecoderConfig):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cos_sin: CosSin, mask: Tensor | None) -> Tensor:
        """[b, n, size] → same."""
        dropout = self.self_attn.dropout if self.training else 0.0
        return self.finish(x, F.scaled_dot_product_attention(*self.heads(x, cos_sin), mask, dropout))

    def heads(self, x: Tensor, cos_sin: CosSin) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of [b, n, size], as `Attention.heads`."""
        return self.self_attn.heads(self.input_layernorm(x), cos_sin)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of the layer, after attention [b, heads, n, head_dim]."""
        x = x + self.dropout(self.self_attn.merge(attended))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


@dataclass
class Text:
    """The text of a batch of sequences, padded on the right.

    Args:
        embeddings: language embeddings [b, n, language_size].
        lengths: tokens of each sequence [b].
        ids: token ids [b, n]; read only for `expected_time`.
    """

    embeddings: Tensor
    lengths: Tensor
    ids: Tensor

    @classmethod
    def of(cls, sequences: list[list[int]], table: Tensor) -> Text:
        """Token ids by sequence, and the language model's input embeddings [vocab, language_size]."""
        lengths = torch.tensor([len(ids) for ids in sequences], device=table.device)
        ids = pad_sequence([torch.tensor(ids, device=table.device) for ids in sequences], batch_first=True)
        return cls(F.embedding(ids, table), lengths, ids)


class SpeechDecoder(nn.Module):
    """NAR and AR decoders.

    Args:
        language_size: width of a language embedding; a multiple of the decoder's.
        vocab_size: of the language model; only `expected_time` needs it.
    """

    def __init__(self, config: SpeechDecoderConfig, language_size: int, vocab_size: int = 0):
        super().__init__()
        if language_size % config.hidden_size:
            raise ValueError(
                f"language embeddings of {language_size} cannot be cut into vectors of {config.hidden_size}"
            )
        self.config, self.cuts = config, language_size // config.hidden_size
        self.embedding = nn.Embedding(config.num_codes + 4, config.hidden_size)
        self.nar = nn.ModuleList(Layer(config) for _ in range(config.nar_layers))
        self.ar = nn.ModuleList(Layer(config) for _ in range(config.ar_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.num_codes + 4)
        if config.position == "expected_time":
            if not vocab_size:
                raise ValueError("position = expected_time needs the vocab_size of the language model")
            self.register_buffer("token_frames", torch.full((vocab_size,), 6.0))  # codec frames; fitted in stage 3.2

    def encode_text(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """NAR: embeddings and lengths of a `Text` → [b, n × cuts, hidden_size]. The output at padding is undefined."""
        b, n, _ = embeddings.shape
        x = embeddings.reshape(b, n * self.cuts, -1)
        positions = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        mask = (positions < lengths.unsqueeze(1) * self.cuts)[:, None, None]
        cos_sin = self.cos_sin(positions)
        for layer in self.nar:
            x = layer(x, cos_sin, mask)
        return x

    def expected_frames(self, ids: Tensor) -> Tensor:
        """When each token is expected to end, in codec frames from the beginning: [b, n]."""
        return self.token_frames[ids].cumsum(-1)

    def prefix(self, embeddings: Tensor, lengths: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[bos] + NAR of a `Text`: (vectors [b, p, size], positions [b, p], lengths without padding [b])."""
        x = self.encode_text(embeddings, lengths)
        b, n, _ = x.shape
        bos = self.embedding.weight[self.config.bos].to(x.dtype).expand(b, 1, -1)
        if self.config.position == "plain":
            positions = torch.arange(n + 1, device=x.device).expand(b, -1)
        else:
            durations = self.token_frames[ids]
            begins = durations.cumsum(-1) - durations
            shares = torch.arange(self.cuts, device=x.device) / self.cuts
            begins = (begins.unsqueeze(-1) + durations.unsqueeze(-1) * shares).flatten(1)
            positions = F.pad(begins, (1, 0))
        return torch.cat((bos, x), 1), positions, lengths * self.cuts + 1

    def cos_sin(self, positions: Tensor) -> CosSin:
        head_size = self.config.hidden_size // self.config.num_heads
        return angles(positions, head_size, self.config.rope_theta, rounded=self.config.position == "plain")

    def forward(self, text: Text, codes: Tensor) -> Tensor:
        """Teacher-forced: codes [b, t] → logits [b, t + 1, num_codes + 4]; logits[:, i] follow sos and i codes."""
        prefix, positions, lengths = self.prefix(text.embeddings, text.lengths, text.ids)
        b, p, _ = prefix.shape
        tokens = F.pad(codes, (1, 0), value=self.config.sos)
        n = tokens.shape[1]
        frames = torch.arange(n, device=codes.device).expand(b, -1)
        begin = lengths.unsqueeze(1) if self.config.position == "plain" else 0
        cos_sin = self.cos_sin(torch.cat((positions, frames + begin), 1))
        # The prefix attends to itself whole; a codec token to the prefix and to earlier codec tokens.
        real = (torch.arange(p, device=codes.device) < lengths.unsqueeze(1))[:, None, None].expand(b, 1, p + n, p)
        later = torch.ones(n, n, dtype=torch.bool, device=codes.device).tril()
        later = F.pad(later, (0, 0, p, 0)).expand(b, 1, p + n, n)
        mask = torch.cat((real, later), -1)
        x = torch.cat((prefix, self.embedding(tokens).to(prefix.dtype)), 1)
        for layer in self.ar:
            x = layer(x, cos_sin, mask)
        return self.head(self.norm(x[:, p:]))

    # Generation

    def slots(self, count: int, capacity: int, prefill=None, step=None) -> DecoderSlots:
        """Slots for sequences of this decoder. Arguments as of `DecoderSlots`."""
        return DecoderSlots(self, count, capacity, prefill, step)

    def sample(self, logits: Tensor, generators: list[torch.Generator], top_k: int | None = None) -> Tensor:
        """A codec token or eos for each sequence of logits [b, num_codes + 4]: among the `top_k` likeliest, with the
        sequence's own generator, so that the rest of the batch changes nothing."""
        top_k = top_k or self.config.top_k
        logits = logits.float().clone()
        logits[:, self.config.bos : self.config.eos] = -torch.inf
        logits[:, self.config.pad] = -torch.inf
        if top_k == 1:
            return logits.argmax(-1)
        values, ids = logits.topk(top_k, -1)
        probabilities = values.softmax(-1).cpu()
        picks = [torch.multinomial(p, 1, generator=g) for p, g in zip(probabilities, generators, strict=True)]
        return ids.gather(1, torch.stack(picks).to(ids.device)).squeeze(1)

    def frame_limit(self, ids: list[int]) -> int:
        """The most frames that a text may take; one that has not ended by then is cut."""
        if self.config.position == "expected_time":
            expected = float(self.token_frames[torch.tensor(ids, device=self.token_frames.device)].sum())
            return int(1.6 * expected) + 30
        return 30 * len(ids) + 60

    @torch.inference_mode()
    def generate(self, ids: list[int], table: Tensor, seed: int = 0, top_k: int | None = None) -> Tensor:
        """One clause alone: token ids and the language model's input embeddings [vocab, language_size] → codes [t]."""
        limit = self.frame_limit(ids)
        slots = self.slots(1, len(ids) * self.cuts + 2 + limit)
        slots.prefill(Text.of([ids], table))
        generators = [torch.Generator().manual_seed(seed)]
        token, codes = torch.tensor([self.config.sos], device=table.device), []
        while len(codes) < limit:
            token = self.sample(slots.step(token), generators, top_k)
            if int(token) == self.config.eos:
                break
            codes.append(token)
        return torch.cat(codes) if codes else token.new_zeros(0)
