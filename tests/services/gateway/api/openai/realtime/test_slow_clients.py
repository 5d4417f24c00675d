"""A client behind a slow link: little of an answer is on its way to it when the answer is cancelled."""

from __future__ import annotations

import base64
import socket

MOST_SECONDS = 2.0  # of audio; what came after the cancellation was 49 s once
RECEIVE_BYTES = 16 << 10  # of the client's own queue


def slow_socket(port: int) -> socket.socket:
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    link.connect(("127.0.0.1", port))
    link.setblocking(False)
    return link


async def test_little_of_a_cancelled_answer_is_on_its_way(make_gateway, open_realtime, until_audio_stalls):
    gateway = await make_gateway(conversation__max_unread_events=4)
    client = await open_realtime(gateway, "model=parley", sock=slow_socket(gateway.http_port), max_queue=1)
    await client.update(audio={"input": {"turn_detection": None}}, max_output_tokens="inf")
    await client.add("a long story please")
    await client.send("response.create")
    await until_audio_stalls()
    await client.send("response.cancel")
    came = await client.until("response.done")
    audio = [event["delta"] for event in came if event["type"] == "response.output_audio.delta"]
    assert came[-1]["response"]["status"] == "cancelled"
    assert sum(len(base64.b64decode(delta)) for delta in audio) / 2 / 24_000 < MOST_SECONDS
