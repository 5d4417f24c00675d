"""Pipecat: a pipeline with its OpenAI Realtime service between a microphone and a loudspeaker.

The service does not reconnect by itself: after a loss there is a new pipeline with the same context.
"""

from __future__ import annotations

import asyncio
import os
import time
from importlib.metadata import version

from loguru import logger
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime.events import ConversationItemTruncateEvent
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner
from talk import RATE, Talk, failures, report, websocket_url

PARAMS = TransportParams(audio_in_enabled=True, audio_out_enabled=True)


class Microphone(BaseInputTransport):
    ready = False

    async def start(self, frame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.ready = True


class Loudspeaker(BaseOutputTransport):
    """Takes audio as fast as it is played, as a sound card does."""

    def __init__(self, talk: Talk):
        super().__init__(PARAMS)
        self._talk, self._due = talk, 0.0

    async def start(self, frame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            self._talk.interrupted()
        await super().process_frame(frame, direction)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        self._talk.audio(frame.audio)
        self._due = max(self._due, time.monotonic()) + len(frame.audio) / 2 / RATE
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        return True


class Watch(FrameProcessor):
    """Notes transcripts, which go upstream from the service."""

    def __init__(self, talk: Talk):
        super().__init__()
        self._talk = talk

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            self._talk.heard.append(frame.text)
        await self.push_frame(frame, direction)


class Service(OpenAIRealtimeLLMService):
    """As it is; it also counts its truncations, of which a pipeline is not told."""

    talk: Talk

    async def send_client_event(self, event) -> None:
        if isinstance(event, ConversationItemTruncateEvent) and self.talk.loudspeaker.playing:
            self.talk.truncated += 1
        await super().send_client_event(event)


class Client:
    def __init__(self, talk: Talk):
        self.talk = talk
        self._context = LLMContext()
        self._runner: WorkerRunner | None = None
        self._started = asyncio.Event()  # a pipeline, whose service has connected by then

    async def listen(self) -> None:
        while not asyncio.current_task().cancelling():  # the runner takes a cancellation for its end
            self._runner = WorkerRunner(handle_sigint=False)
            await self._runner.add_workers(self._worker())
            await self._runner.run()

    def _worker(self) -> PipelineWorker:
        self._microphone = Microphone(PARAMS)
        service = Service(api_key=os.environ["OPENAI_API_KEY"], base_url=websocket_url())
        service.talk = self.talk
        both = LLMContextAggregatorPair(self._context)
        both.assistant().add_event_handler("on_assistant_turn_stopped", self._answered)
        steps = [self._microphone, Watch(self.talk), both.user(), service, Loudspeaker(self.talk), both.assistant()]
        params = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
        worker = PipelineWorker(Pipeline(steps), params=params)
        worker.add_event_handler("on_pipeline_started", self._pipeline_started)
        worker.add_event_handler("on_pipeline_error", self._failed)
        return worker

    async def _answered(self, _, message) -> None:
        """The assistant's part of the context is written; by then the audio has been played."""
        if not message.interrupted:
            self.talk.text(message.content)
            self.talk.complete()

    async def _pipeline_started(self, *_) -> None:
        self._started.set()

    async def _failed(self, _, frame: ErrorFrame) -> None:
        self.talk.error(frame.error)

    async def ready(self) -> None:
        await self._started.wait()

    async def send(self, chunk: bytes) -> None:
        if self._microphone.ready:
            await self._microphone.push_audio_frame(InputAudioRawFrame(chunk, RATE, 1))

    async def reconnect(self) -> None:
        self._started.clear()
        await self._runner.cancel("the connection is lost")
        await self._started.wait()


async def main() -> None:
    logger.remove()
    talk = Talk(f"pipecat-ai {version('pipecat-ai')}")
    with failures(talk):
        report(talk, await talk.run(Client(talk)))


if __name__ == "__main__":
    asyncio.run(main())
