"""All parts of a model in one process: `load_model(path).reply(messages)`.

Notable points:
- A model holds the parts it was asked for; the others are None. A service loads its own and no more.
- `reply` is the plain order of work, one step after another: for notebooks, and the reference that services must match.
- Media come as arrays: pixels, waveforms or embeddings. `parley.media.messages.read_media` makes them from files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from torch import Tensor, nn

from parley.config import PARTS, STATES, ParleyConfig
from parley.text.clauses import split
from parley.text.prompt import MediaSegment, PromptWriter, TextSegment, common_prefix

Array = np.ndarray | Tensor


def parts_of(config: ParleyConfig) -> tuple[str, ...]:
    """The parts a model of this config has: without a CTC alphabet no CTC head, with state tokens no heads that read
    the language model. A checkpoint may lack some: what it has, its manifest says."""
    absent = set()
    if not config.speech.ctc_alphabet:
        absent.add("ctc_head")
    if config.language.state == "tokens":
        absent |= {"state_head", "end_of_turn_head"}
    return tuple(part for part in PARTS if part not in absent)


def build_part(part: str, config: ParleyConfig) -> nn.Module:
    """A part with fresh weights. Its module is imported here, so that a service starts with its own parts' only."""
    width = config.language.hidden_size
    match part:
        case "vision_encoder":
            from parley.models.vision import VisionEncoder

            return VisionEncoder(config.vision)
        case "vision_adapter":
            from parley.models.vision import VisionAdapter

            return VisionAdapter(config.vision, width)
        case "speech_encoder":
            from parley.models.speech import SpeechEncoder

            return SpeechEncoder(config.speech)
        case "ctc_head":
            from parley.models.speech import CtcHead

            return CtcHead(config.speech)
        case "speech_adapter":
            from parley.models.speech import SpeechAdapter

            return SpeechAdapter(config.speech, width)
        case "speech_prompt":
            from parley.models.speech import SpeechPrompt

            return SpeechPrompt(config.speech, width)
        case "language":
            from parley.models.language import build_language

            return build_language(config.language)
        case "state_head":
            from parley.models.language import StateHead

            return StateHead(width)
        case "end_of_turn_head":
            from parley.models.language import EndOfTurnHead

            return EndOfTurnHead(width)
        case "speech_decoder":
            from parley.models.speech_decoder import SpeechDecoder

            return SpeechDecoder(config.speech_decoder, width, config.language.vocab_size)
        case "codec_encoder":
            from parley.models.codec import build_codec_encoder

            return build_codec_encoder(config.codec)
        case "codec_decoder":
            from parley.models.codec import build_codec_decoder

            return build_codec_decoder(config.codec)
    raise ValueError(f"no part {part!r}; there are: {', '.join(PARTS)}")


@dataclass(frozen=True)
class Reply:
    """The model's answer to a conversation."""

    state: str  # one of `config.STATES`; "nothing" comes without an answer
    probabilities: tuple[float, ...]  # of the states, in their order
    text: str
    token_ids: list[int]  # of the text, without state and stop tokens
    audio: np.ndarray  # float32 [samples] at the codec's rate; empty where nothing was spoken
    complete: float | None = None  # probability that the question is complete; None: the model has no such head


class Parley(nn.Module):
    """A model: one attribute a part, None where it was not asked for."""

    def __init__(self, config: ParleyConfig, parts: Sequence[str] | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokenizer: Tokenizer | None = None
        wanted = parts_of(config) if parts is None else parts
        if unknown := [part for part in wanted if part not in PARTS]:
            raise ValueError(f"no parts {unknown}; there are: {', '.join(PARTS)}")
        for part in PARTS:
            self.add_module(part, build_part(part, config) if part in wanted else None)

    @cached_property
    def writer(self) -> PromptWriter:
        """Renders messages for this model. Raises `ValueError` if it came without a tokenizer."""
        if self.tokenizer is None:
            raise ValueError("the model has no tokenizer: it cannot read or write text")
        return PromptWriter.of(self.config.language, self.tokenizer)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @torch.inference_mode()
    def embed(self, messages: list[dict[str, Any]], open_assistant: bool = True) -> Tensor:
        """Messages → embeddings `[length, width]`, what the language model reads: text, pictures and speech in order.

        A picture or a video is pixels `[tiles, 3, S, S]`, speech is a waveform `[samples]`; each may also be ready
        embeddings `[n, width]`. Raises `ValueError` for anything else, a path or a PIL image for example.
        """
        pieces = []
        for segment in self.writer.render(messages, open_assistant):
            if isinstance(segment, TextSegment):
                pieces.append(self._embed_ids(segment.ids))
            elif segment.kind == "speech":
                pieces += [self.speech_prompt.vectors, self._embed_media(segment)]
            else:
                pieces.append(self._embed_media(segment))
        return torch.cat(pieces)

    def _embed_media(self, segment: MediaSegment) -> Tensor:
        content, speech = segment.content, segment.kind == "speech"
        dimensions = content.ndim if isinstance(content, Array) else None
        if dimensions == 2:
            return torch.as_tensor(content).to(self.device, self.dtype)
        if dimensions != (1 if speech else 4):
            wanted = "a waveform [samples]" if speech else "pixels [tiles, 3, S, S]"
            found = type(content).__name__ if dimensions is None else f"an array of {dimensions} dimensions"
            raise ValueError(
                f"{segment.kind} content is {wanted} or embeddings [n, width], not {found}; "
                "parley.media.messages.read_media reads files and pictures"
            )
        return self.hear(content) if speech else self.see(content)

    @torch.inference_mode()
    def see(self, pixels: Array) -> Tensor:
        """Normalised pixels of a picture's tiles or a video's frames `[tiles, 3, S, S]` → embeddings `[n, width]`."""
        pixels = torch.as_tensor(pixels).to(self.device, self.dtype)
        return self.vision_adapter(self.vision_encoder(pixels)).flatten(0, 1)

    @torch.inference_mode()
    def hear(self, waveform: Array) -> Tensor:
        """float32 `[samples]` at the config's rate → embeddings `[n, width]`, without the prompt in front."""
        from parley.models.filter_bank import fbank

        features = fbank(waveform, self.config.speech)[None].to(self.device, self.dtype)
        frames, lengths = self.speech_encoder(features, torch.tensor([features.shape[1]], device=self.device))
        return self.speech_adapter(frames, lengths)[0][0]

    @torch.inference_mode()
    def reply(
        self,
        messages: list[dict[str, Any]],
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        speak: bool = True,
        always: bool = False,
    ) -> Reply:
        """Reads a conversation that ends with the user's message, decides its state, and answers as text and (with
        `speak`) as speech.

        `temperature` 0 takes the likeliest token; the first is never one that ends the answer. With `always` it
        answers even where the state is "nothing".
        """
        generator = torch.Generator(self.device).manual_seed(seed)
        prompt = self.embed(messages)[None]
        limit = min(max_tokens, self._free_positions(prompt.shape[1]))
        logits, cache, probabilities, complete = self._read_state(prompt)
        state = STATES[int(np.argmax(probabilities))]
        ids: list[int] = []
        while (state != "nothing" or always) and len(ids) < limit:
            if not ids:  # no answer is empty
                logits[sorted(self.writer.stop_ids)] = -torch.inf
            token = _sample(logits, temperature, generator)
            if token in self.writer.stop_ids:
                break
            ids.append(token)
            logits, _, cache = self._step(self._embed_ids([token])[None], cache)
        audio = np.zeros(0, np.float32)
        if speak and ids and self.speech_decoder is not None:
            audio = self.speak(ids, seed=seed)
        return Reply(state, tuple(probabilities), self.writer.decode(ids), ids, audio, complete)

    @torch.inference_mode()
    def speak(self, ids: list[int], speaker: Sequence[int] | None = None, seed: int = 0) -> np.ndarray:
        """An answer's token ids as speech, clause by clause: float32 [samples] at the codec's rate.

        `speaker` is the codec's speaker tokens, None for the config's default. Raises `ValueError` for a wrong number.
        """
        codec = self.config.codec
        speaker = speaker or codec.default_speaker or (0,) * codec.num_speaker_tokens
        if len(speaker) != codec.num_speaker_tokens:
            raise ValueError(f"a speaker is {codec.num_speaker_tokens} tokens, not {len(speaker)}")
        stream = DecodeStream(skip_special_tokens=True)
        pieces = [stream.step(self.tokenizer, token) or "" for token in ids]
        table = self.language.get_input_embeddings().weight
        waveforms = [np.zeros(0, np.float32)]
        for clause in split(ids, pieces):
            codes = self.speech_decoder.generate(clause.ids, table, seed) if clause.speakable else ()
            if len(codes):
                waveform = self.codec_decoder(codes[None], torch.tensor([speaker], device=self.device))
                waveforms.append(waveform[0].float().cpu().numpy())
        return np.concatenate(waveforms)

    def _free_positions(self, length: int) -> int:
        """How many tokens may follow a prompt. Raises `ValueError` if none."""
        longest = self.config.language.max_position_embeddings
        if length >= longest:
            raise ValueError(f"the conversation is {length} embeddings long; the model reads at most {longest - 1}")
        return longest - length

    def _read_state(self, prompt: Tensor) -> tuple[Tensor, Any, list[float], float | None]:
        """Reads the prompt `[1, n, width]` → logits of the answer's first token, cache, probabilities of the states and
        of a complete question."""
        choices = self.writer.state_ids
        if choices is None:
            logits, hidden, cache = self._step(prompt, None)
            return logits, cache, self.state_head(hidden).float().softmax(-1).tolist(), self._complete(hidden)
        # The three state tokens may begin with the same ids; the decision is made at the first that differs.
        shared = common_prefix(choices)
        opened = torch.cat([prompt, self._embed_ids(shared)[None]], 1) if shared else prompt
        logits, _, cache = self._step(opened, None)
        probabilities = logits[[choice[len(shared)] for choice in choices]].float().softmax(-1)
        rest = choices[int(probabilities.argmax())][len(shared) :]
        logits, _, cache = self._step(self._embed_ids(rest)[None], cache)
        return logits, cache, probabilities.tolist(), None

    def _complete(self, hidden: Tensor) -> float | None:
        """The hidden state `[width]` where the answer opens → probability that the question is complete."""
        return None if self.end_of_turn_head is None else float(self.end_of_turn_head(hidden).float().sigmoid())

    def _step(self, embeddings: Tensor, cache: Any) -> tuple[Tensor, Tensor, Any]:
        """`[1, n, width]` after what the cache holds → the last logits and hidden state, cache."""
        output = self.language.model(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
        hidden = output.last_hidden_state[0, -1]
        return self.language.lm_head(hidden), hidden, output.past_key_values

    def _embed_ids(self, ids: list[int]) -> Tensor:
        """Token ids → `[n, width]`."""
        return self.language.get_input_embeddings()(torch.tensor(ids, device=self.device))


def _sample(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits.float() / temperature).softmax(-1), 1, generator=generator))
