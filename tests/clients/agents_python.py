"""OpenAI's Agents SDK for Python: a RealtimeSession with an agent; it validates every event strictly."""

from __future__ import annotations

import asyncio
import contextlib
from importlib.metadata import version

from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from talk import Talk, failures, report, websocket_url
from websockets.exceptions import ConnectionClosed

MODEL = "gpt-realtime-2.1"  # the SDK's own default, which is part of the address


class Client:
    def __init__(self, talk: Talk):
        self.talk = talk
        self._agent = RealtimeAgent(name="Parley", instructions="Answer in a sentence.")
        self._session: RealtimeSession | None = None

    async def listen(self) -> None:
        while True:  # it does not reconnect by itself
            runner = RealtimeRunner(self._agent)
            with contextlib.suppress(ConnectionClosed):
                async with await runner.run(model_config={"url": f"{websocket_url()}?model={MODEL}"}) as session:
                    self._session = session
                    async for event in session:
                        self._take(event)

    def _take(self, event) -> None:
        talk = self.talk
        match event.type:
            case "audio":
                talk.audio(event.audio.data)
            case "audio_interrupted":
                talk.interrupted()
            case "agent_end":
                talk.complete()
            case "error":
                talk.error(event.error)
            case "raw_model_event":
                self._take_raw(event.data)

    def _take_raw(self, event) -> None:
        match event.type:
            case "transcript_delta":
                self.talk.text(event.delta)
            case "input_audio_transcription_completed":
                self.talk.heard.append(event.transcript)
            case "raw_server_event" if event.data["type"] == "conversation.item.truncated":
                self.talk.truncated += 1
            case "exception":
                self.talk.error(event.exception)

    async def ready(self) -> None:
        while self._session is None:
            await asyncio.sleep(0.05)

    async def send(self, chunk: bytes) -> None:
        if self._session is not None:
            with contextlib.suppress(ConnectionClosed, AssertionError):  # it asserts that it is connected
                await self._session.send_audio(chunk)

    async def reconnect(self) -> None:
        before = self._session
        while self._session is before:
            await asyncio.sleep(0.05)


async def main() -> None:
    talk = Talk(f"openai-agents {version('openai-agents')} (Python)")
    with failures(talk):
        report(talk, await talk.run(Client(talk)))


if __name__ == "__main__":
    asyncio.run(main())
