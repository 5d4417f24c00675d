"""All parts in one process: `Parley.load(path).reply(messages)`.

Notable points:
- A model holds the parts it was asked for; the others are None. A service loads its own and no more.
- `reply` is the plain order of work, one step after another: for notebooks, and the truth that services must match.
- Loading allocates nothing twice: parameters are born without memory and take that of the file's tensors.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from torch import Tensor, nn

from parley.checkpoints.checkpoint import (
    CheckpointError,
    Manifest,
    check_fit,
    load_part,
    load_tokenizer,
    read_manifest,
    save_stage,
)
from parley.config import PARTS, STATES, ParleyConfig
from parley.text.prompt import MediaSegment, PromptWriter, TextSegment, common_prefix


def parts_of(config: ParleyConfig) -> tuple[str, ...]:
    """The parts a model of this config has: without a CTC alphabet no CTC head, with state tokens no state head."""
    absent = set()
    if not config.speech.ctc_alphabet:
        absent.add("ctc_head")
    if config.language.state == "tokens":
        absent.add("state_head")
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
        case "speech_decoder":
            from parley.models.speech_decoder import SpeechDecoder

            return SpeechDecoder(config.speech_decoder, width, config.language.vocab_size)
        case "codec_encoder":
            from parley.models.codec.codec import build_codec_encoder

            return build_codec_encoder(config.codec)
        case "codec_decoder":
            from parley.models.codec.codec import build_codec_decoder

            return build_codec_decoder(config.codec)
    raise ValueError(f"no part {part!r}; there are: {', '.join(PARTS)}")


@dataclass(frozen=True)
class Reply:
    """What the model made of a conversation."""

    state: str  # one of `config.STATES`; "nothing" comes without an answer
    probabilities: tuple[float, ...]  # of the states, in their order
    text: str
    token_ids: list[int]  # of the text, without state and stop tokens
    audio: np.ndarray  # float32 [samples] at the codec's rate; empty where nothing was spoken


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

    @classmethod
    def load(
        cls,
        path: str | Path,
        parts: Sequence[str] | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = torch.float32,
    ) -> Parley:
        """The model of a checkpoint folder, in eval mode, with its tokenizer if it has one.

        Args:
            parts: those to load, None for all that the checkpoint has.
            dtype: of the floating-point tensors, None for as they are stored.

        Raises `CheckpointError`, in one line, for a missing part, a wrong size or hash, or tensors that do not fit.
        """
        manifest = read_manifest(path)
        wanted = tuple(manifest.parts) if parts is None else tuple(parts)
        if missing := [part for part in wanted if part not in manifest.parts]:
            raise CheckpointError(f"{path} has no {', '.join(missing)}; it has: {', '.join(manifest.parts)}")
        with _parameters_without_memory():
            model = cls(manifest.config, wanted)
        for part in wanted:
            load_into(model.get_submodule(part), load_part(path, part, device, dtype), part)
        if manifest.tokenizer is not None:
            model.tokenizer = load_tokenizer(path)
        return model.to(device).eval()

    def save(
        self, path: str | Path, *, stage: str, tokenizer: Tokenizer | None = None, parts: Sequence[str] | None = None,
        **facts: Any,
    ) -> Manifest:  # fmt: skip
        """Writes `parts`, or all there are, as the checkpoint of a stage; `facts` as in `checkpoint.save_stage`."""
        states = {part: module.state_dict() for part, module in self.named_children()}
        chosen = states if parts is None else {part: states[part] for part in parts}
        return save_stage(
            path, stage=stage, config=self.config, parts=chosen, tokenizer=tokenizer or self.tokenizer, **facts
        )

    @cached_property
    def writer(self) -> PromptWriter:
        """Renders messages for this model. Raises `ValueError` if it came without a tokenizer."""
        if self.tokenizer is None:
            raise ValueError("the model has no tokenizer: words cannot be read")
        return PromptWriter.of(self.config.language, self.tokenizer)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @torch.inference_mode()
    def embed(self, messages: list[dict[str, Any]], open_assistant: bool = True) -> Tensor:
        """Messages → what the language model reads, `[length, width]`: words, pictures and speech as vectors in order.

        A picture is a file (bytes or path), a PIL image, its pixels `[tiles, 3, S, S]` or vectors `[n, width]`; a video
        a file, a list of PIL images, pixels or vectors; speech a file, a waveform `[samples]` or vectors `[n, width]`.
        """
        rows = []
        for segment in self.writer.render(messages, open_assistant):
            if isinstance(segment, TextSegment):
                rows.append(self._words(segment.ids))
            elif segment.kind == "speech":
                rows += [self.speech_prompt.vectors, self.hear(segment.content)]
            else:
                rows.append(self.see(segment))
        return torch.cat(rows)

    @torch.inference_mode()
    def see(self, segment: MediaSegment) -> Tensor:
        """A picture or video as vectors `[tokens, width]`."""
        from parley.models.vision import frames_to_pixels, read_image, read_video, tile

        content = segment.content
        if isinstance(content, bytes | str | Path):
            video = segment.kind == "video"
            content = read_video(content, self.config.vision) if video else read_image(content)
        if isinstance(content, list):
            content = frames_to_pixels(content, self.config.vision)
        elif not isinstance(content, Tensor | np.ndarray):
            content = tile(content, self.config.vision)
        content = torch.as_tensor(content, device=self.device)
        if content.ndim == 2:
            return content
        return self.vision_adapter(self.vision_encoder(content)).flatten(0, 1)

    @torch.inference_mode()
    def hear(self, content: bytes | str | Path | np.ndarray | Tensor) -> Tensor:
        """Speech as vectors `[n, width]`, without the prompt vectors in front."""
        from parley.media.audio import read_audio
        from parley.models.speech import fbank

        if isinstance(content, bytes | str | Path):
            content = read_audio(content, self.config.speech.sample_rate)
        content = torch.as_tensor(content)
        if content.ndim == 2:
            return content.to(self.device)
        features = fbank(content, self.config.speech)[None].to(self.device)
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
        """Reads a conversation that ends with the user, says what it heard, answers in words and (with `speak`) aloud.

        `temperature` 0 takes the likeliest token. With `always` it answers even where the state is "nothing".
        """
        draw = torch.Generator(self.device).manual_seed(seed)
        vectors = self.embed(messages)[None]
        room = self.config.language.max_position_embeddings - vectors.shape[1]
        if room < 1:
            raise ValueError(
                f"the conversation is {vectors.shape[1]} vectors long; the model reads at most "
                f"{self.config.language.max_position_embeddings - 1}"
            )
        logits, cache, probabilities = self._read_state(vectors)
        state = STATES[int(np.argmax(probabilities))]
        ids: list[int] = []
        if state != "nothing" or always:
            while len(ids) < min(max_tokens, room):
                token = _pick(logits, temperature, draw)
                if token in self.writer.stop_ids:
                    break
                ids.append(token)
                logits, _, cache = self._step(self._words([token])[None], cache)
        audio = np.zeros(0, np.float32)
        if speak and ids and self.speech_decoder is not None:
            audio = self.speak(ids, seed=seed)
        return Reply(state, tuple(probabilities), self.writer.decode(ids), ids, audio)

    @torch.inference_mode()
    def speak(self, ids: list[int], voice: Sequence[int] | None = None, seed: int = 0) -> np.ndarray:
        """An answer's token ids aloud, clause by clause: float32 [samples] at the codec's rate.

        `voice` is the codec's voice tokens, None for the config's default. Raises `ValueError` for a wrong number.
        """
        from parley.text.clauses import split

        codec = self.config.codec
        voice = voice or codec.default_voice or (0,) * codec.num_voice_tokens
        if len(voice) != codec.num_voice_tokens:
            raise ValueError(f"a voice is {codec.num_voice_tokens} tokens, not {len(voice)}")
        stream = DecodeStream(skip_special_tokens=True)
        pieces = [stream.step(self.tokenizer, token) or "" for token in ids]
        table = self.language.get_input_embeddings().weight
        spoken = [np.zeros(0, np.float32)]
        for clause in split(ids, pieces):
            codes = self.speech_decoder.speak(clause.ids, table, seed) if clause.speakable else ()
            if len(codes):
                sound = self.codec_decoder(codes[None], torch.tensor([voice], device=self.device))
                spoken.append(sound[0].float().cpu().numpy())
        return np.concatenate(spoken)

    def _read_state(self, vectors: Tensor) -> tuple[Tensor, Any, list[float]]:
        """Reads the prompt `[1, n, width]` → logits of the answer's first token, cache, odds of the states."""
        choices = self.writer.state_ids
        if choices is None:
            logits, hidden, cache = self._step(vectors, None)
            return logits, cache, self.state_head(hidden).float().softmax(-1).tolist()
        # The three tokens may begin alike; the model is asked where they part.
        shared = common_prefix(choices)
        opened = torch.cat([vectors, self._words(shared)[None]], 1) if shared else vectors
        logits, _, cache = self._step(opened, None)
        odds = logits[[choice[len(shared)] for choice in choices]].float().softmax(-1)
        rest = choices[int(odds.argmax())][len(shared) :]
        logits, _, cache = self._step(self._words(rest)[None], cache)
        return logits, cache, odds.tolist()

    def _step(self, vectors: Tensor, cache: Any) -> tuple[Tensor, Tensor, Any]:
        """`[1, n, width]` after what the cache holds → the last logits and hidden state, cache."""
        output = self.language.model(inputs_embeds=vectors, past_key_values=cache, use_cache=True)
        hidden = output.last_hidden_state[0, -1]
        return self.language.lm_head(hidden), hidden, output.past_key_values

    def _words(self, ids: list[int]) -> Tensor:
        """Token ids → `[n, width]`."""
        return self.language.get_input_embeddings()(torch.tensor(ids, device=self.device))


def load_into(module: nn.Module, state: dict[str, Tensor], part: str) -> None:
    """Gives a part the tensors of a state dict, uncopied. Raises one `CheckpointError` naming all that does not fit."""
    tied = part == "language" and module.config.tie_word_embeddings
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in module.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    check_fit(part, expected, {name: tuple(tensor.shape) for name, tensor in state.items()})
    module.load_state_dict(state, strict=False, assign=True)
    if tied:
        module.lm_head.weight = module.get_input_embeddings().weight


_building = threading.Lock()


@contextlib.contextmanager
def _parameters_without_memory() -> Iterator[None]:
    """Modules built inside have parameters on the meta device and ordinary buffers.

    Not the meta device alone: buffers that no file holds (rotary frequencies, windows) must keep their values.
    """
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    with _building:
        nn.Module.register_parameter = register_on_meta
        try:
            yield
        finally:
            nn.Module.register_parameter = register


def _pick(logits: Tensor, temperature: float, draw: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits.float() / temperature).softmax(-1), 1, generator=draw))
