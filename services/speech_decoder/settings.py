"""Settings of the speech decoder, read from the environment: PARLEY_SPEECH_DECODER_<NAME>."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from parley.text.clauses import FIRST_WORDS, LATER_WORDS, MAX_TOKENS
from services.engine.settings import AUTO, AutoInt, CompiledSettings


class SpeechDecoderSettings(CompiledSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_SPEECH_DECODER_", extra="ignore")
    DEVICE_DEFAULTS: ClassVar = {
        "cpu": {"max_answers": 32, "max_batch": 16},
        "cuda": {"max_answers": 128, "max_batch": 64},
    }

    idle_seconds: float = Field(
        200.0, gt=0, description="Silence after which a stream is ended: longer than a turn that a slow client holds up"
    )
    max_answers: AutoInt = Field(
        AUTO, description="Answers synthesized at once; more get RESOURCE_EXHAUSTED; auto: 32 on a CPU, 128 on a GPU"
    )
    max_batch: AutoInt = Field(
        AUTO, description="Clauses in one engine step, others wait for a slot; auto: 16 on a CPU, 64 on a GPU"
    )
    max_tokens: int = Field(4096, ge=1, description="Text tokens of one answer; more get RESOURCE_EXHAUSTED")
    max_characters: int = Field(32_768, ge=1, description="Characters of an answer sent as text")
    max_clause_tokens: int = Field(MAX_TOKENS, ge=1, description="Text tokens of one clause")
    max_clause_seconds: float = Field(15.0, gt=0, description="Speech of one clause; longer speech is cut there")
    first_words: int = Field(
        FIRST_WORDS,
        ge=1,
        description="Words of an answer's first clause, at most; 2.5 characters of Chinese, Thai, … count as one",
    )
    later_words: int = Field(
        LATER_WORDS, ge=1, description="Words of its later clauses, at most; counted in the same way"
    )
    first_chunk_tokens: int = Field(6, ge=1, description="Codec tokens in an answer's first audio chunk")
    chunk_tokens: int = Field(0, ge=0, description="Codec tokens in later chunks; 0: as the model's config says")
    top_k: int = Field(0, ge=0, description="Codec tokens that sampling chooses from; 1: greedy; 0: as the config says")
    sentence_pause_ms: int = Field(140, ge=0, description="Silence after a sentence")
    clause_pause_ms: int = Field(20, ge=0, description="Silence after another clause")
