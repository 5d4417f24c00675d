"""The benchmark without services: its stream, and a turn."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from benchmarks.clip import Clip
from benchmarks.first_audio_talk import MANUAL, Talk
from benchmarks.one_process import DirectStream, OneProcess
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


async def test_a_turn_in_one_process_is_that_of_the_gateway(tiny_checkpoint):
    process, clip = OneProcess(tiny_checkpoint), Clip("", np.full(8_000, 500, "<i2"), 16_000, (0, 7_999))
    await process.start()
    async with asyncio.timeout(30), Talk(process.client(), MANUAL, max_tokens=4).open() as talk:
        for _ in range(2):  # the second has a history
            facts = (await talk.ask(clip)).facts()
            assert facts["answered"] and facts["reasons"] == ["length"] and not facts["cut"]
    await process.stop()
