"""LiveKit Agents: an AgentSession with the OpenAI plugin's realtime model, local audio, no LiveKit server."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version

from livekit import rtc
from livekit.agents import Agent, AgentSession, io, utils
from livekit.plugins import openai
from talk import RATE, Talk, failures, report


class Microphone(io.AudioInput):
    def __init__(self) -> None:
        super().__init__(label="microphone")
        self.frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        return await self.frames.get()


class Loudspeaker(io.AudioOutput):
    """Takes audio as fast as it comes and reports when it has been played."""

    def __init__(self, talk: Talk):
        capabilities = io.AudioOutputCapabilities(pause=False)
        super().__init__(label="loudspeaker", capabilities=capabilities, sample_rate=RATE)
        self._talk = talk
        self._playing: asyncio.Task | None = None
        self._cleared = asyncio.Event()
        self._began = self._pushed = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._pushed:
            self._began = time.monotonic()
            self.on_playback_started(created_at=time.time())
        self._pushed += frame.duration
        self._talk.audio(bytes(frame.data))

    def flush(self) -> None:
        super().flush()
        if self._pushed:
            self._cleared.clear()
            self._playing = asyncio.create_task(self._finish())

    def clear_buffer(self) -> None:
        self._talk.interrupted()
        self._cleared.set()

    async def _finish(self) -> None:
        left = self._began + self._pushed - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self._cleared.wait()
            position = min(time.monotonic() - self._began, self._pushed)
        except TimeoutError:
            position = self._pushed
        self._pushed = 0.0
        self.on_playback_finished(playback_position=position, interrupted=self._cleared.is_set())


class Client:
    def __init__(self, talk: Talk):
        self.talk = talk
        self._microphone = Microphone()
        self._started, self._back = asyncio.Event(), asyncio.Event()

    async def listen(self) -> None:
        async with utils.http_context.open():
            self._session = session = AgentSession(llm=openai.realtime.RealtimeModel())
            session.input.audio, session.output.audio = self._microphone, Loudspeaker(self.talk)
            session.on("conversation_item_added", self._added)
            session.on("user_input_transcribed", self._transcribed)
            session.on("error", lambda event: self.talk.error(event.error))
            await session.start(Agent(instructions="Answer in one sentence."))
            model = session.current_agent.realtime_llm_session
            model.on("openai_server_event_received", self._received)
            model.on("session_reconnected", lambda _: self._reconnected())
            self._started.set()
            await asyncio.Event().wait()

    def _added(self, event) -> None:
        """An item of the conversation, after it has been played."""
        if event.item.type == "message" and event.item.role == "assistant" and not event.item.interrupted:
            self.talk.text(event.item.text_content or "")
            self.talk.complete()

    def _transcribed(self, event) -> None:
        if event.is_final:
            self.talk.heard.append(event.transcript)

    def _received(self, event: dict) -> None:
        if event["type"] == "conversation.item.truncated":
            self.talk.truncated += 1

    def _reconnected(self) -> None:
        self.talk.reconnected_by = "the client"
        self._back.set()

    async def ready(self) -> None:
        await self._started.wait()

    async def send(self, chunk: bytes) -> None:
        self._microphone.frames.put_nowait(rtc.AudioFrame(chunk, RATE, 1, len(chunk) // 2))

    async def reconnect(self) -> None:
        await self._back.wait()


async def main() -> None:
    talk = Talk(f"livekit-agents {version('livekit-agents')}")
    with failures(talk):
        report(talk, await talk.run(Client(talk)))


if __name__ == "__main__":
    asyncio.run(main())
