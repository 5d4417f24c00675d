"""A client that does not read: little of an answer is on its way to it when the turn is cancelled."""

from __future__ import annotations

from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from protos.parley.v1.usage_pb2 import FinishReason

MOST_SECONDS = 2.0  # of audio; what came after the cancellation was 33 s once, and 1.4 s is the window of the stream


async def test_little_of_a_cancelled_answer_is_on_its_way(make_gateway, connect, until_audio_stalls):
    client = await connect(await make_gateway(conversation__max_unread_events=4), sampling=Sampling(max_tokens=300))
    await client.send(text="tell me a long story")
    await client.send(respond=wire.Respond())
    await until_audio_stalls()
    await client.send(cancel=wire.CancelTurn())
    seconds = 0.0
    async for event in client.events():
        seconds += len(event.audio.audio) / 2 / max(1, event.audio.sample_rate)
        if event.HasField("done"):
            break
    assert event.done.finish_reason == FinishReason.FINISH_REASON_CANCELLED and seconds < MOST_SECONDS
