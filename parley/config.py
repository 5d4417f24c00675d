"""Every size of every part, in one typed tree.

Notable points:
- One `ParleyConfig` describes a whole model; each part reads only its own branch.
- Three presets: `nano` (trains on two CPU cores), `vita-small` (trains on one GPU) and `vita-7b` (the sizes of the
  VITA-1.5 paper). `parley init` takes the sizes of the language model and of the vision encoder from their folders.
- A checkpoint holds its config, so an imported model may have any sizes.
- Where `nano` computes differently from the published model, the difference is a field here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

# The parts of a model, in the order in which a request is computed. A checkpoint stores one file a part.
PARTS = (
    "vision_encoder",  # InternViT; pictures → patch features
    "vision_adapter",  # MLP; patch features → language width
    "speech_encoder",  # convolutions + Transformer; filter bank → frames
    "ctc_head",  # frames → letters and words; trains the encoder (2.1a) and writes the transcript
    "speech_adapter",  # convolution; frames → language width
    "speech_prompt",  # learned embeddings in front of speech
    "language",  # Qwen2
    "state_head",  # what is being asked: speech, text or nothing
    "end_of_turn_head",  # whether a spoken question is complete
    "speech_decoder",  # NAR + AR; text embeddings → codec tokens
    "codec_encoder",  # waveform → codec tokens and speaker tokens; training only
    "codec_decoder",  # codebooks + generator; codec tokens → waveform
)

STATES = ("speech", "text", "nothing")  # the order of the state head's classes


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def renamed(default: Any, name: str, before: str) -> Any:
    """A field that checkpoints written before its renaming have under the name `before`."""
    return Field(default, validation_alias=AliasChoices(name, before))


class VisionConfig(Config):
    """InternViT, pixel shuffle and the MLP adapter (paper 2.1)."""

    image_size: int  # a tile's side, pixels
    patch_size: int  # pixels
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    layer_norm_eps: float = 1e-6
    norm: Literal["layer_norm", "rms_norm"] = "layer_norm"
    qkv_bias: bool = True
    qk_norm: bool = False
    downsample: int = 2  # pixel shuffle: downsample² patches become one token
    feature_scale: float = 1.0  # the published model halves its features before the shuffle
    max_tiles: int = 12  # of the best-fitting grid; 1 means never tile
    max_frames: int = 16  # of a video
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @property
    def token_size(self) -> int:
        """Width of a token after the pixel shuffle, before the adapter."""
        return self.hidden_size * self.downsample**2


class SpeechConfig(Config):
    """Filter bank, ×4 subsampling, Transformer encoder, ×2 adapter and prompt embeddings (paper 2.1)."""

    sample_rate: int = 16_000  # Hz
    num_mel_bins: int = 80
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    conv_channels: int  # of the two stride-2 convolutions
    subsampled_size: int = 0  # width that their output is projected to before the blocks; 0 means hidden_size
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    # `key_absolute`: the published scores, a learned projection of the sinusoid of the key's absolute position.
    # `rotary`: relative positions, which a few layers learn from far less data.
    position: Literal["key_absolute", "rotary"] = "key_absolute"
    conv_kernel: int = 0  # causal depthwise convolution in each block; 0 means none
    dropout: float = 0.1
    chunk_size: int = -1  # attention chunk at inference, encoder frames (40 ms each); -1 means the whole utterance
    left_chunks: int = -1  # chunks of the past that a chunk sees; -1 means all
    dynamic_chunks: bool = False  # train with a random chunk size, so that any size may serve
    adapter_kernel: int = 5
    adapter_norm: Literal["batch", "layer"] = "batch"
    adapter_activation: Literal["relu", "gelu"] = "relu"
    num_prompt_embeddings: int = renamed(5, "num_prompt_embeddings", "num_prompt_vectors")
    ctc_alphabet: str = ""  # letters of what the CTC head writes, a space first; "" means no head
    ctc_words: tuple[str, ...] = ()  # words it writes whole; it spells all others


class ChatFormat(Config):
    """The strings around a message; special tokens of the checkpoint's tokenizer. The defaults are Qwen2.5's ChatML."""

    system_open: str = "<|im_start|>system\n"
    user_open: str = "<|im_start|>user\n"
    assistant_open: str = "<|im_start|>assistant\n"
    close: str = "<|im_end|>\n"
    stop: tuple[str, ...] = ("<|im_end|>", "<|endoftext|>")  # tokens that end an answer
    default_system: str = ""  # "" means no system message unless one is given


class LanguageConfig(Config):
    """Qwen2, unmodified, plus its chat format and how it gives the state (paper 2.1, 2.3)."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    max_position_embeddings: int = 32_768
    rope_theta: float = 1_000_000.0
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    chat: ChatFormat = ChatFormat()
    # `head`: a classifier on the output where an answer opens. `tokens`: the answer's first token is the state.
    state: Literal["head", "tokens"] = "head"
    state_tokens: tuple[str, str, str] = ("☞", "☜", "☟")  # speech, text, nothing; used with `tokens`


class SpeechDecoderConfig(Config):
    """NAR and AR Llama layers over the text tokens' language embeddings (paper 2.1)."""

    hidden_size: int  # a language embedding is cut into language.hidden_size / hidden_size pieces
    intermediate_size: int
    num_heads: int
    nar_layers: int
    ar_layers: int
    num_codes: int = 1024  # codec tokens; bos, sos, eos and pad follow as num_codes + 0..3
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    dropout: float = 0.0
    # `plain`: pieces and tokens are counted, as published. `expected_time`: a text piece has the position of the
    # frame at which its token should begin, codec token t position t: the AR decoder need not learn the alignment.
    position: Literal["plain", "expected_time"] = "plain"
    top_k: int = 2  # of sampling; 1 means greedy
    chunk_tokens: int = 40  # codec tokens decoded at a time when streaming
    overlap_tokens: int = 10  # on each side of a chunk, so that no seam is audible

    @property
    def bos(self) -> int:
        return self.num_codes

    @property
    def sos(self) -> int:
        return self.num_codes + 1

    @property
    def eos(self) -> int:
        return self.num_codes + 2

    @property
    def pad(self) -> int:
        return self.num_codes + 3


class IstftCodecConfig(Config):
    """Mel front, convolutions to 40 Hz, one codebook, a ConvNeXt decoder with an inverse-STFT head. Fast on a CPU."""

    kind: Literal["istft"] = "istft"
    sample_rate: int = 24_000  # Hz
    hop_length: int = 600  # samples a codec token: 40 tokens a second
    num_codes: int = 1024
    code_dim: int = 16
    encoder_channels: int = 192
    encoder_layers: int = 4
    decoder_channels: int = 256
    decoder_layers: int = 6
    num_mel_bins: int = 80
    n_fft: int = 600  # of the inverse-STFT head
    frames_per_token: int = 4  # the head's hop is hop_length / frames_per_token
    num_speaker_tokens: int = renamed(4, "num_speaker_tokens", "num_voice_tokens")  # of an utterance
    speaker_codes: int = renamed(64, "speaker_codes", "voice_codes")  # codebook size of each
    default_speaker: tuple[int, ...] = renamed((), "default_speaker", "default_voice")  # where none is named


class HifiganCodecConfig(Config):
    """TiCodec as published: a convolutional encoder and a HiFi-GAN generator, with utterance-level speaker tokens."""

    kind: Literal["hifigan"] = "hifigan"
    sample_rate: int = 24_000
    num_codes: int = 1024
    resblock: Literal["1", "2"] = "1"
    upsample_rates: tuple[int, ...] = (8, 5, 5, 3)
    upsample_kernel_sizes: tuple[int, ...] = (12, 7, 7, 5)
    upsample_initial_channel: int = 512
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    num_code_groups: int = 1
    num_residual_layers: int = 1
    num_speaker_tokens: int = renamed(8, "num_speaker_tokens", "num_voice_tokens")
    speaker_codes: int = renamed(1024, "speaker_codes", "voice_codes")
    global_feature_conv: tuple[int, int, int, int, int] = (128, 64, 128, 3, 1)  # in, hidden, out, kernel, stride
    default_speaker: tuple[int, ...] = renamed((), "default_speaker", "default_voice")

    @property
    def hop_length(self) -> int:
        hop = 1
        for rate in self.upsample_rates:
            hop *= rate
        return hop


CodecConfig = Annotated[IstftCodecConfig | HifiganCodecConfig, Field(discriminator="kind")]


class ParleyConfig(Config):
    """A whole model."""

    name: str
    vision: VisionConfig
    speech: SpeechConfig
    language: LanguageConfig
    speech_decoder: SpeechDecoderConfig
    codec: CodecConfig


def preset(name: str) -> ParleyConfig:
    """The config of a preset. Raises `ValueError` naming the presets if there is none of that name."""
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


# fmt: off
NANO = ParleyConfig(
    name="nano",
    # 96 px and 16-px patches: the pixel shuffle makes each of the 9 tokens exactly one cell of the world's 3×3 grid.
    vision=VisionConfig(
        image_size=96, patch_size=16, hidden_size=128, num_layers=4, num_heads=4, intermediate_size=512,
        max_tiles=1, image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5),
    ),
    speech=SpeechConfig(
        conv_channels=48, hidden_size=192, num_layers=4, num_heads=4, intermediate_size=768,
        position="rotary", conv_kernel=15, dropout=0.0, chunk_size=8, left_chunks=16, dynamic_chunks=True,
        adapter_kernel=3, adapter_norm="layer", adapter_activation="gelu", num_prompt_embeddings=2,
        ctc_alphabet=" abcdefghijklmnopqrstuvwxyz'",
    ),
    language=LanguageConfig(
        vocab_size=512, hidden_size=192, intermediate_size=512, num_layers=6, num_heads=6, num_kv_heads=2,
        max_position_embeddings=1024, rope_theta=10_000.0, tie_word_embeddings=True,
        chat=ChatFormat(
            system_open="<|system|>", user_open="<|user|>", assistant_open="<|assistant|>", close="<|end|>",
            stop=("<|end|>",),
        ),
    ),
    speech_decoder=SpeechDecoderConfig(
        hidden_size=192, intermediate_size=512, num_heads=6, nar_layers=4, ar_layers=4,
        position="expected_time", top_k=1, chunk_tokens=16, overlap_tokens=14,
    ),
    codec=IstftCodecConfig(),
)

# 0.91 B parameters with Qwen2.5-0.5B, 1.96 B with Qwen2.5-1.5B. The speech parts are larger ones of `nano`'s kind: they
# learn from hundreds of hours where the published ones had thousands.
VITA_SMALL = ParleyConfig(
    name="vita-small",
    vision=VisionConfig(  # InternViT-300M, with fewer tiles: most of a picture's cost is the vision encoder's
        image_size=448, patch_size=14, hidden_size=1024, num_layers=24, num_heads=16, intermediate_size=4096,
        max_tiles=4,
    ),
    speech=SpeechConfig(
        conv_channels=256, hidden_size=512, num_layers=12, num_heads=8, intermediate_size=2048,
        position="rotary", conv_kernel=15, chunk_size=16, left_chunks=16, dynamic_chunks=True,
        adapter_norm="layer", adapter_activation="gelu", ctc_alphabet=" abcdefghijklmnopqrstuvwxyz'",
    ),
    language=LanguageConfig(  # Qwen2.5-0.5B
        vocab_size=151_936, hidden_size=896, intermediate_size=4864, num_layers=24, num_heads=14, num_kv_heads=2,
        tie_word_embeddings=True,
    ),
    speech_decoder=SpeechDecoderConfig(  # 384 wide for a language model of 1,536
        hidden_size=448, intermediate_size=1792, num_heads=7, nar_layers=4, ar_layers=4,
        position="expected_time", chunk_tokens=16, overlap_tokens=16,
    ),
    codec=IstftCodecConfig(
        code_dim=32, encoder_channels=512, encoder_layers=6, decoder_channels=512, decoder_layers=8,
        num_speaker_tokens=8, speaker_codes=256,
    ),
)

VITA_7B = ParleyConfig(
    name="vita-7b",
    vision=VisionConfig(
        image_size=448, patch_size=14, hidden_size=1024, num_layers=24, num_heads=16, intermediate_size=4096,
    ),
    speech=SpeechConfig(
        conv_channels=1024, hidden_size=1024, num_layers=24, num_heads=16, intermediate_size=4096,
        chunk_size=16, left_chunks=16, dynamic_chunks=True, ctc_alphabet=" abcdefghijklmnopqrstuvwxyz'",
    ),
    language=LanguageConfig(
        vocab_size=152_064, hidden_size=3584, intermediate_size=18_944, num_layers=28, num_heads=28, num_kv_heads=4,
    ),
    speech_decoder=SpeechDecoderConfig(
        hidden_size=896, intermediate_size=4480, num_heads=14, nar_layers=4, ar_layers=4,
    ),
    codec=HifiganCodecConfig(),
)
# fmt: on

PRESETS = {config.name: config for config in (NANO, VITA_SMALL, VITA_7B)}
