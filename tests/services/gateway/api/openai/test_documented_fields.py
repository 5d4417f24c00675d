"""The tables of docs/api.md say of each field what becomes of it, and it does."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import NoneType

import numpy as np
import pytest
import soundfile

from services.gateway.api.openai.audio.speech import SpeechRequest
from services.gateway.api.openai.audio.transcriptions import TranscriptionRequest
from services.gateway.api.openai.chat.request import ChatRequest

PAGE = Path(__file__).parents[5] / "docs" / "api.md"
CHAT, SPEECH, TRANSCRIPTIONS = "/v1/chat/completions", "/v1/audio/speech", "/v1/audio/transcriptions"
MODELS = {CHAT: ChatRequest, SPEECH: SpeechRequest, TRANSCRIPTIONS: TranscriptionRequest}
BODIES = {
    CHAT: {"model": "parley", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1},
    SPEECH: {"model": "parley", "voice": "alloy", "input": "hello", "response_format": "pcm"},
    TRANSCRIPTIONS: {"model": "parley"},
}
# For what only takes one value: that one, and another.
ONLY = {
    "n": (1, 2),
    "logprobs": (False, True),
    "frequency_penalty": (0, 1),
    "presence_penalty": (0, -1),
    "logit_bias": ({}, {"1": 1}),
    "response_format": ({"type": "text"}, {"type": "json_object"}),
    "reasoning_effort": ("none", "high"),
    "verbosity": ("medium", "low"),
    "speed": (1, 1.5),
    "temperature": (0, 1),
}


def documented(endpoint: str) -> dict[str, str]:
    """Field → what the page says becomes of it: used, refused, no effect or only …"""
    section = PAGE.read_text().split(f"### {endpoint}\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", section.split("| field |")[1].split("\n\n")[0], re.MULTILINE)
    return {name: status for names, status in rows for name in re.findall(r"`([^`]+)`", names)}


def kind_of(field) -> str:
    """As the model has it."""
    if field.annotation is NoneType:
        return "refused"
    return "no effect" if field.description == "Accepted, without effect." else "used"


FIELDS = [(endpoint, name, status) for endpoint in MODELS for name, status in documented(endpoint).items()]


@pytest.mark.parametrize("endpoint", MODELS)
def test_all_fields_are_documented_as_what_they_are(endpoint):
    model = MODELS[endpoint]
    kinds = {field.alias or name: kind_of(field) for name, field in model.model_fields.items()}
    said = {name: "used" if status.startswith("only") else status for name, status in documented(endpoint).items()}
    assert said == kinds


async def send(http, endpoint: str, **changes):
    body = BODIES[endpoint] | changes
    if endpoint != TRANSCRIPTIONS:
        return await http.post(endpoint, json=body)
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 8000), 16_000, format="WAV")
    return await http.post(endpoint, data=body, files={"file": file.getvalue()})


async def test_what_is_documented_is_so(http):
    for endpoint, name, status in FIELDS:
        if status == "used":
            continue
        value, other = ONLY[name] if status.startswith("only") else ("anything", "anything")
        if status != "refused":
            response = await send(http, endpoint, **{name: value})
            assert response.status_code == 200, (endpoint, name, response.text)
        if status != "no effect":
            response = await send(http, endpoint, **{name: other})
            assert response.status_code == 400, (endpoint, name)
            assert response.json()["error"]["param"].split(".")[0] == name
