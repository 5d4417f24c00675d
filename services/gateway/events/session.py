"""A session: its id and its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_STOPS = 8

Stop = Annotated[str, Field(min_length=1, max_length=64)]


class SamplingConfig(BaseModel):
    """How answers are sampled; 0 and empty mean the service's default."""

    model_config = ConfigDict(frozen=True)

    temperature: float = Field(0.0, ge=0, le=100, allow_inf_nan=False)
    top_p: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    top_k: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)
    max_tokens: int = Field(0, ge=0)
    stop: tuple[Stop, ...] = Field((), max_length=MAX_STOPS)


class Tool(BaseModel):
    """A function that the model may call."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}  # JSON Schema of its arguments


Interruption = Literal["state", "voice", "never"]
Eagerness = Literal["low", "medium", "high", "auto"]


class TurnTaking(BaseModel):
    """How questions are detected, and what becomes of them. None: as the gateway's settings say."""

    model_config = ConfigDict(frozen=True)

    start: float | None = None  # probability of speech above which speech may start
    end_seconds: float | None = None  # silence this long ends a question, whatever was said; None: that decides
    eagerness: Eagerness = "auto"  # to end a question, as what was said decides; auto: as the settings say
    preroll_seconds: float | None = None  # audio before the start that belongs to the question
    interruption: Interruption | None = None  # what ends an answer
    answer: bool = True  # a detected question is answered; otherwise it only becomes an item
    items_first: bool = False  # a question is an item once it is complete; otherwise once it has been answered


class SessionConfig(BaseModel):
    """What a client may set, at the opening and later."""

    model_config = ConfigDict(frozen=True)

    manual_turns: bool = False  # the client says where questions end; otherwise the server detects it
    input_sample_rate: int = 16_000  # Hz, of the client's audio
    instructions: str = ""  # the system prompt
    sampling: SamplingConfig = SamplingConfig()
    text_only: bool = False  # no audio in answers
    speaker: str = ""  # empty: the speech decoder's default
    speaker_tokens: tuple[int, ...] = ()  # of a speaker without a name; they override `speaker`
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "none", "required", "function"] = "auto"
    tool_name: str = ""  # of the function that must be called, where `tool_choice` is `function`
    parallel_tool_calls: bool = True  # whether an answer may make several
    turn_taking: TurnTaking = TurnTaking()
    client: dict[str, Any] = {}  # what an API keeps with the session, in its own form


@dataclass(frozen=True)
class Session:
    id: str
    config: SessionConfig
    items: int = 0  # that it held when it was opened
    last_item_id: str = ""  # of them
