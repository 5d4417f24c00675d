"""JSON of very many values is refused before each of them is checked."""

from __future__ import annotations

import pytest

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.json_limit import MAX_VALUES
from services.gateway.api.openai.realtime.client_events import parse

MANY = ",".join(["0"] * (MAX_VALUES + 2))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", f'{{"model": "parley", "messages": [{MANY}]}}'),
        ("audio/speech", "{" + ",".join(f'"{number}": 0' for number in range(MAX_VALUES + 2)) + "}"),
        ("realtime/client_secrets", f'{{"session": {{"type": "realtime", "tools": [{MANY}]}}}}'),
    ],
)
async def test_a_body_of_too_many_values_is_refused_unchecked(http, path, body):
    response = await http.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert "commas and opening brackets" in response.json()["error"]["message"]


async def test_commas_of_a_file_are_no_values(http):
    files = {"file": ("a.wav", b"," * (MAX_VALUES + 2))}
    response = await http.post("/v1/audio/transcriptions", data={"model": "parley"}, files=files)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "file")


def test_a_message_of_too_many_values_is_refused_unchecked():
    with pytest.raises(ApiError, match="commas and opening brackets"):
        parse(f'{{"type": "session.update", "session": {{"type": "realtime", "tools": [{MANY}]}}}}')
