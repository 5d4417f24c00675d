"""`/v1/audio/transcriptions` by the official client and by hand, before the real services."""

from __future__ import annotations

import io
import json

import numpy as np
import openai
import pytest
import soundfile

URL = "/v1/audio/transcriptions"
FIELDS = {"model": "whisper-1"}


def file_of(samples: np.ndarray, rate: int = 16_000, format: str = "WAV", **kind) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, **kind)
    return file.getvalue()


@pytest.fixture(scope="session")
def question(spoken_question) -> bytes:
    return file_of(spoken_question)


@pytest.fixture(scope="session")
def two_questions(spoken_question) -> bytes:
    """With a pause between them."""
    silence = np.zeros(16_000, np.int16)
    return file_of(np.concatenate([silence, spoken_question, silence, spoken_question, silence]))


async def transcribe(client, data: bytes, name: str = "a.wav", **more):
    return await client.audio.transcriptions.create(file=(name, data), **FIELDS | more)


async def test_a_file_of_any_kind_has_a_transcript(client, spoken_question, question):
    expected = await transcribe(client, question)
    assert expected.text and expected.usage.type == "duration"
    assert expected.usage.seconds == pytest.approx(len(spoken_question) / 16_000)
    flac = await transcribe(client, file_of(spoken_question, format="FLAC"), "a.flac")
    assert flac.text == expected.text
    for format, kind in (("OGG", {"subtype": "OPUS"}), ("MP3", {})):
        assert (await transcribe(client, file_of(spoken_question, format=format, **kind))).text


async def test_all_formats_say_the_same(client, http, conforms, two_questions):
    plain = await transcribe(client, two_questions)
    text = await transcribe(client, two_questions, response_format="text")
    assert text == plain.text + "\n"
    verbose = await transcribe(
        client, two_questions, response_format="verbose_json", language="en", timestamp_granularities=["segment"]
    )
    assert verbose.text == plain.text == " ".join(segment.text for segment in verbose.segments)
    assert verbose.language == "en" and verbose.task == "transcribe"
    first, second = verbose.segments
    assert 0.9 <= first.start < first.end < second.start < second.end <= verbose.duration - 0.9
    srt = await transcribe(client, two_questions, response_format="srt")
    number, times, said, rest = srt.split("\n", 3)
    assert number == "1" and times.startswith("00:00:0") and " --> 00:00:" in times and said == first.text
    assert f"2\n00:00:0{int(second.start)}," in rest
    vtt = await transcribe(client, two_questions, response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:0") and second.text in vtt and "," not in vtt.split("\n")[2]
    for format, schema in (
        ("json", "CreateTranscriptionResponseJson"),
        ("verbose_json", "CreateTranscriptionResponseVerboseJson"),
    ):
        response = await http.post(URL, data=FIELDS | {"response_format": format}, files={"file": two_questions})
        conforms(response.json(), schema)


async def test_a_stream_grows_and_ends_with_the_whole(client, http, conforms, two_questions):
    whole = await transcribe(client, two_questions)
    events = [event async for event in await transcribe(client, two_questions, stream=True)]
    assert len(events) > 3 and "".join(event.delta for event in events[:-1]) == events[-1].text == whole.text
    assert events[-1].usage.input_token_details.audio_tokens == events[-1].usage.input_tokens > 10
    response = await http.post(URL, data=FIELDS | {"stream": "true"}, files={"file": two_questions})
    for line in response.text.strip().split("\n\n"):
        conforms(json.loads(line.removeprefix("data: ")), "CreateTranscriptionResponseStreamEvent")


async def test_a_long_file_is_cut_into_pieces_and_a_longer_one_refused(make_gateway, spoken_question):
    gateway = await make_gateway(api__max_transcription_seconds=100)
    url = f"http://127.0.0.1:{gateway.http_port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        long = file_of(np.tile(spoken_question, 30)[: 95 * 16_000], format="FLAC")
        verbose = await transcribe(client, long, response_format="verbose_json")
        assert len(verbose.segments) >= 4 and verbose.duration == pytest.approx(
            len(spoken_question) * 30 / 16_000, abs=30
        )
        assert all(segment.end - segment.start <= 30 for segment in verbose.segments)
        longer = file_of(np.zeros(101 * 16_000, np.int16), format="FLAC")
        with pytest.raises(openai.APIStatusError, match="limit of 100 s") as caught:
            await transcribe(client, longer)
        assert (caught.value.status_code, caught.value.param) == (413, "file")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": "llama"}, "model_not_found", "model"),
        ({"model": None}, "missing_required_parameter", "model"),
        ({"response_format": "diarized_json"}, "unsupported_value", "response_format"),
        ({"response_format": "srt", "stream": "true"}, "invalid_value", "response_format"),
        ({"temperature": "0.5"}, "invalid_value", "temperature"),
        ({"prompt": "names"}, "unsupported_parameter", "prompt"),
        ({"include[]": "logprobs"}, "unsupported_parameter", "include[]"),
        ({"known_speaker_names[]": "a"}, "unsupported_parameter", "known_speaker_names[]"),
        ({"timestamp_granularities[]": "word"}, "unsupported_value", "timestamp_granularities[]"),
        ({"timestamp_granularities[]": "segment"}, "invalid_value", "timestamp_granularities[]"),
        ({"colour": "red"}, "unknown_parameter", "colour"),
    ],
)
async def test_what_is_wrong_with_a_request_is_named(http, question, fields, code, param):
    data = {name: value for name, value in (FIELDS | fields).items() if value is not None}
    response = await http.post(URL, data=data, files={"file": question})
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, param), error["message"]
    assert response.status_code == (404 if code == "model_not_found" else 400)


async def test_what_is_wrong_with_the_file_is_said(http):
    for files, code, param in (
        ({}, "missing_required_parameter", "file"),
        ({"file": b""}, "invalid_value", "file"),
        ({"file": b"no sound"}, "invalid_value", "file"),
        ({"file": file_of(np.zeros(100, np.int16))}, "invalid_value", "file"),
    ):
        response = await http.post(URL, data=FIELDS, files=files)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, code, param), error["message"]
    broken = {"content-type": "multipart/form-data; boundary=x"}
    for content in (b"--x\r\nbroken", b"", b"--x--"):
        response = await http.post(URL, content=content, headers=broken)
        assert response.status_code == 400 and set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_options_of_the_chunking_strategy_have_no_effect(client, question):
    plain = await transcribe(client, question)
    options = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
    assert (await transcribe(client, question, chunking_strategy=options)).text == plain.text
