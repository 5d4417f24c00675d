"""The stream of the benchmark without services."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.one_process import DirectStream
from protos.parley.v1.speech_encoder_pb2 import EncodeSpeechRequest


class Echo:
    async def Encode(self, requests, context):
        async for request in requests:
            yield request


@pytest.mark.parametrize("keep_open", [False, True])
async def test_an_error_of_the_requests_reaches_the_reader(keep_open):
    async def requests():
        yield EncodeSpeechRequest(audio=b"12")
        raise ValueError("no more audio")

    stream = DirectStream("speech_encoder", Echo(), requests(), keep_open)
    answers = aiter(stream)
    async with asyncio.timeout(20):
        assert (await anext(answers)).audio == b"12"
        with pytest.raises(ValueError, match="no more audio"):
            await anext(answers)
    await stream.close()
