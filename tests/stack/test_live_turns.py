"""Live conversations with the running stack: two gateways, interruptions, killed replicas, lost clients, rubbish."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest

from cli.client import Answer, Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from protos.parley.v1.usage_pb2 import FinishReason
from services.local import processes

ROOT = Path(__file__).parents[2]
MANUAL = wire.TURN_DETECTION_MANUAL
SAMPLING = Sampling(max_tokens=60, seed=5)


@pytest.fixture(scope="module")
def second_gateway(stack):
    """Another gateway process before the same services and sessions, patient with replicas that start again."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PARLEY_SERVICES": stack.state.services,
        "PARLEY_SERVICE_TOKEN": stack.state.service_token,
        "REDIS_URL": stack.state.redis_url,
        "PARLEY_GATEWAY_SERVER_PORT": "0",
        "PARLEY_GATEWAY_SERVER_HTTP_PORT": "0",
        "PARLEY_GATEWAY_UPSTREAM_RECOVERY_SECONDS": "150",
        "PARLEY_GATEWAY_UPSTREAM_STALL_SECONDS": "60",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    ports = json.loads(process.stdout.readline())
    yield f"127.0.0.1:{ports['grpc']}"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """int16 [samples], 16 kHz."""
    from training.data.world.speech.espeak import speaker

    said = speaker().speak("what colour is the circle at the top left?", "en-us")
    return (np.clip(said, -1, 1) * 32767).astype("<i2")


@contextlib.asynccontextmanager
async def conversation(address: str, session_id: str = "", **config):
    async with Client(address) as client:
        config = wire.SessionConfig(**{"turn_detection": MANUAL, "sampling": SAMPLING, **config})
        await client.open(config, session_id)
        yield client


async def next_event(client: Client, kind: str) -> wire.ServerEvent:
    async for event in client.events():
        if event.WhichOneof("event") == kind:
            return event
    raise AssertionError(f"the stream ended without {kind}")


def requests_running(stack, service: str) -> float:
    with urllib.request.urlopen(f"http://{stack.state.metrics[service]}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("parley_engine_slots_used{"))


async def all_free(stack) -> None:
    for _ in range(300):
        if not any([requests_running(stack, service) for service in ("speech_encoder", "llm_core", "speech_decoder")]):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("a service still runs a request of a turn that is over")


async def test_a_turn_through_another_gateway_process_knows_the_first(stack, second_gateway, speech):
    first = Question(audio=speech.tobytes(), paced=False)
    async with conversation(stack.state.gateway) as here, conversation(stack.state.gateway) as alone:
        assert (await here.ask(first)).complete
        assert (await alone.ask(first)).complete
        async with conversation(second_gateway, session_id=here.session_id) as there:
            assert there.ready.resumed and there.ready.items == 2
            across = await there.ask(Question(text="and what else?"))
        stayed = await alone.ask(Question(text="and what else?"))
    async with conversation(second_gateway) as fresh:
        alien = await fresh.ask(Question(text="and what else?"))
    assert across.text == stayed.text != alien.text


async def test_speaking_interrupts_the_answer_everywhere(stack, speech):
    vad = wire.TURN_DETECTION_SERVER_VAD
    async with conversation(stack.state.gateway, turn_detection=vad, sampling=Sampling(max_tokens=250)) as client:
        await client.send(text="tell me a long story")
        await client.send(respond=wire.Respond())
        old = (await next_event(client, "audio")).turn_id
        quiet = np.random.default_rng(0).normal(0, 20, 20_000).astype("<i2").tobytes()
        audio = speech.tobytes() + quiet
        for at in range(0, len(audio), 3200):
            await client.send(audio=audio[at : at + 3200])
        ended, new = {}, ""
        while new not in ended:
            event = await anext(client.events())
            if event.HasField("speech_started"):
                new = event.turn_id
            assert old not in ended or event.turn_id != old, "an event of a turn that was over"
            if event.HasField("done"):
                ended[event.turn_id] = event.done.finish_reason
    assert ended[new] == FinishReason.FINISH_REASON_LENGTH and new != old
    await all_free(stack)


async def test_a_client_that_vanishes_leaves_nothing_behind(stack):
    async with conversation(stack.state.gateway, sampling=Sampling(max_tokens=250)) as client:
        await client.send(text="tell me a long story")
        await client.send(respond=wire.Respond())
        await next_event(client, "audio")
    await all_free(stack)
    async with conversation(stack.state.gateway, session_id=client.session_id) as back:
        assert (await back.ask(Question(text="hello"))).complete


@pytest.mark.parametrize(
    ("question", "service"),
    [
        (Question(text="what is it?", images=[b"this is no picture"]), "vision_encoder"),
        (Question(text="what is it?", videos=[b"this is no video"]), "vision_encoder"),
        (Question(text="one two three four five six seven eight nine ten " * 80), "llm_core"),
        (Question(audio=bytes(400), paced=False), "too short"),
    ],
    ids=["picture", "video", "long text", "short audio"],
)
async def test_rubbish_is_refused_in_words_and_others_are_served(stack, question, service):
    async with conversation(stack.state.gateway) as other, conversation(stack.state.gateway) as client:
        served = asyncio.create_task(other.ask(Question(text="hello")))
        refused = await client.ask(question)
        assert refused.finish_reason == "failed"
        assert refused.error.code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), refused.error
        assert service in refused.error.message and "Traceback" not in refused.error.message
        again = await client.ask(Question(text="hello"))
        assert again.complete and (await served).complete
        assert again.text == (await served).text


# The first sign that a service is at work.
WHEN = {"speech_encoder": "transcript", "llm_core": "text", "speech_decoder": "audio"}


async def spoken_turn(client: Client, speech: np.ndarray, on: str = "", then=lambda: None) -> Answer:
    """A spoken turn, in which `then` is called at the first event `on`."""
    answer, parts = Answer(), np.array_split(speech, 6)
    for part in parts[:4]:
        await client.send(audio=part.tobytes())
    ended = False
    async for event in client.events():
        kind = event.WhichOneof("event")
        if kind == on:
            then()
            on = ""
        if kind == "transcript" and not ended:
            ended = True
            for part in parts[4:]:
                await client.send(audio=part.tobytes())
            await client.send(end_of_audio=wire.EndOfAudio())
        if answer.take(event, 0.0):
            return answer
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("name", ["speech_encoder", "llm_core", "speech_decoder"])
async def test_a_replica_killed_in_the_middle_of_a_turn_costs_a_pause(stack, second_gateway, speech, name):
    async with conversation(second_gateway, sampling=Sampling(max_tokens=200, seed=5)) as client:
        undisturbed = await spoken_turn(client, speech)
        assert undisturbed.complete, undisturbed.error
    replica = next(
        psutil.Process(pid)
        for pid in processes.descendants(stack.state.supervisor_pid)
        if f"ServeReplica:{name}" in " ".join(psutil.Process(pid).cmdline())
    )
    async with conversation(second_gateway, sampling=Sampling(max_tokens=200, seed=5)) as client:
        answer = await spoken_turn(client, speech, WHEN[name], replica.kill)
    assert answer.error is None and answer.complete, answer.error
    assert answer.text == undisturbed.text and answer.transcript == undisturbed.transcript
    assert answer.audio == undisturbed.audio
