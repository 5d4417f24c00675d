"""Small files that would become very large are refused by their header on every way in."""

from __future__ import annotations

import base64
import io
import struct

import openai
import pytest
from PIL import Image

from cli.client import Question

SIDE = 20_000  # pixels: 400 million, in 50 KB


@pytest.fixture(scope="module")
def picture_bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (SIDE, SIDE)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def sound_bomb() -> bytes:
    """A FLAC file of silence, ten hours in its header and some KB in fact."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, [0.0] * 1600, 16_000, format="FLAC")
    data = bytearray(file.getvalue())
    packed = struct.unpack(">Q", data[18:26])[0]  # sample rate 20 bits, channels 3, bits 5, samples 36
    data[18:26] = struct.pack(">Q", packed >> 36 << 36 | 16_000 * 36_000)
    return bytes(data)


def client(gateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{gateway.http_port}/v1", max_retries=0)


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


async def test_a_picture_over_grpc(make_gateway, connect, picture_bomb):
    talk = await connect(await make_gateway(), text_only=True)
    refused = await talk.ask(Question(text="what is it?", images=[picture_bomb]))
    assert (refused.finish_reason, refused.error.code) == ("failed", "RESOURCE_EXHAUSTED")
    assert f"{SIDE}×{SIDE} pixels" in refused.error.message
    assert (await talk.ask(Question(text="hello"))).complete


async def test_a_picture_over_http(make_gateway, picture_bomb):
    async with client(await make_gateway()) as api:
        content = [{"type": "image_url", "image_url": {"url": data_url(picture_bomb)}}]
        with pytest.raises(openai.APIStatusError, match=f"{SIDE}×{SIDE} pixels") as caught:
            await api.chat.completions.create(model="parley", messages=[{"role": "user", "content": content}])
        assert caught.value.status_code == 413


async def test_a_picture_over_a_websocket(make_gateway, picture_bomb):
    async with client(await make_gateway()) as api, api.realtime.connect(model="parley") as connection:
        await connection.recv()
        content = [{"type": "input_image", "image_url": data_url(picture_bomb)}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        event = await connection.recv()
        assert event.type == "error" and f"{SIDE}×{SIDE} pixels" in event.error.message
        await connection.input_audio_buffer.clear()
        assert (await connection.recv()).type == "input_audio_buffer.cleared"


async def test_sound_over_http(make_gateway, sound_bomb):
    async with client(await make_gateway()) as api:
        with pytest.raises(openai.APIStatusError, match="above the limit") as caught:
            await api.audio.transcriptions.create(model="parley", file=("a.flac", sound_bomb))
        assert caught.value.status_code == 413
