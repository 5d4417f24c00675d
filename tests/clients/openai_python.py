"""The official Python client: events of the Realtime API as they come, its own reconnecting."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import openai
from openai import AsyncOpenAI
from openai.types.websocket_reconnection import ReconnectingEvent
from talk import Talk, failures, report
from websockets.exceptions import ConnectionClosed


class Client:
    def __init__(self, talk: Talk):
        self.talk = talk
        self.connected = asyncio.Event()
        self._item = ""  # of the answer that is played

    async def listen(self) -> None:
        client = AsyncOpenAI()
        async with client.realtime.connect(model="gpt-realtime", on_reconnecting=self._reconnecting) as self.connection:
            async for event in self.connection:
                await self._take(event)

    def _reconnecting(self, event: ReconnectingEvent) -> None:
        self.talk.reconnected_by = "the client"

    async def _take(self, event) -> None:
        talk = self.talk
        match event.type:
            case "session.created":
                self.connected.set()
            case "response.output_audio.delta":
                self._item = event.item_id
                talk.audio(base64.b64decode(event.delta))
            case "response.output_audio_transcript.delta":
                talk.text(event.delta)
            case "input_audio_buffer.speech_started" if talk.loudspeaker.playing:
                played = round(1000 * talk.loudspeaker.played)
                talk.interrupted()
                await self.connection.conversation.item.truncate(
                    item_id=self._item, content_index=0, audio_end_ms=played
                )
            case "conversation.item.truncated":
                talk.truncated += 1
            case "response.done" if event.response.status == "failed":
                talk.error(event.response.status_details)
            case "response.done" if event.response.status != "cancelled":
                talk.complete()
            case "error":
                talk.error(event.error.message)

    async def ready(self) -> None:
        await self.connected.wait()

    async def send(self, chunk: bytes) -> None:
        if self.connected.is_set():
            with contextlib.suppress(ConnectionClosed):
                await self.connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())

    async def reconnect(self) -> None:
        self.connected.clear()
        await self.connected.wait()


async def main() -> None:
    talk = Talk(f"openai {openai.__version__} (Python)")
    with failures(talk):
        report(talk, await talk.run(Client(talk)))


if __name__ == "__main__":
    asyncio.run(main())
