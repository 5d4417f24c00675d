"""What the speech decoder can be told through the environment: PARLEY_SPEECH_DECODER_<NAME>."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from parley.text.clauses import FIRST_WORDS, LATER_WORDS, MAX_TOKENS
from services.engine.settings import ServiceSettings


class SpeechDecoderSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_SPEECH_DECODER_", extra="ignore")

    idle_seconds: float = Field(
        200.0, gt=0, description="Silence after which a stream is ended: more than a turn, which a slow client may hold"
    )
    max_sessions: int = Field(32, ge=1, description="Answers spoken at once; more get RESOURCE_EXHAUSTED")
    max_batch: int = Field(16, ge=1, description="Clauses in one engine step; the clauses of more answers take turns")
    max_tokens: int = Field(4096, ge=1, description="Text tokens of one answer; more get RESOURCE_EXHAUSTED")
    max_clause_tokens: int = Field(MAX_TOKENS, ge=1, description="Text tokens spoken in one breath")
    max_clause_seconds: float = Field(15.0, gt=0, description="Speech of one clause; what runs on longer is cut there")
    first_words: int = Field(FIRST_WORDS, ge=1, description="Words of an answer's first clause, at most")
    later_words: int = Field(LATER_WORDS, ge=1, description="Words of its later clauses, at most")
    first_chunk_tokens: int = Field(6, ge=1, description="Codec tokens in an answer's first piece of audio, 25 ms each")
    chunk_tokens: int = Field(0, ge=0, description="Codec tokens in later pieces; 0: as the model's config says")
    top_k: int = Field(0, ge=0, description="Tokens are drawn from the likeliest few; 1: the likeliest; 0: config")
    sentence_pause_ms: int = Field(140, ge=0, description="Silence after a sentence")
    clause_pause_ms: int = Field(20, ge=0, description="Silence after another clause")
