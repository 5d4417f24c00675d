"""LiteLLM's proxy in front of the server, asked by the official Python client: Realtime, chat, speech, transcripts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import httpx
import openai_python
from openai import AsyncOpenAI
from talk import Talk, failures, report

START_SECONDS = 120.0
MODEL = "gpt-realtime"


class Client(openai_python.Client):
    """After a loss behind it LiteLLM closes with 1000, after which the official client does not reconnect by itself."""

    async def listen(self) -> None:
        while True:
            await super().listen()
            self.connected.clear()


@contextlib.asynccontextmanager
async def proxy() -> AsyncIterator[None]:
    """A LiteLLM that passes everything on; the environment says where it is while the context lasts."""
    port, key = free_port(), f"sk-{secrets.token_hex(16)}"
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        program = str(Path(sys.executable).parent / "litellm")
        options = ("--config", config(Path(folder)), "--host", "127.0.0.1", "--port", str(port))
        with (Path(folder) / "log").open("w") as log:
            process = await asyncio.create_subprocess_exec(
                program, *options, env=environment, stdout=log, stderr=asyncio.subprocess.STDOUT
            )
        try:
            await started(process, port, Path(folder) / "log")
            os.environ.update(OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1", OPENAI_API_KEY=key)
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def config(folder: Path) -> str:
    """A file of LiteLLM's settings; JSON is YAML."""
    server = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
    models = [{"model_name": MODEL, "litellm_params": {"model": f"openai/{MODEL}", **server}}]
    path = folder / "config.yaml"
    path.write_text(json.dumps({"model_list": models}))
    return str(path)


async def started(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient() as client:
        while process.returncode is None:
            with contextlib.suppress(httpx.TransportError):
                await client.get(f"http://127.0.0.1:{port}/health/liveliness")
                return
            await asyncio.sleep(0.25)
    raise RuntimeError(f"LiteLLM ended: {log.read_text()[-500:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def http() -> dict:
    """An answer of chat, its text spoken, and what was spoken as text."""
    client = AsyncOpenAI()
    messages = [{"role": "user", "content": "what is two plus three?"}]
    chat = await client.chat.completions.create(model=MODEL, messages=messages)
    text = chat.choices[0].message.content
    speech = await client.audio.speech.create(model=MODEL, voice="alloy", input=text, response_format="wav")
    transcript = await client.audio.transcriptions.create(model=MODEL, file=("answer.wav", speech.content))
    return {"chat": text, "speech_bytes": len(speech.content), "transcription": transcript.text}


async def main() -> None:
    talk = Talk(f"litellm {version('litellm')}")
    with failures(talk):
        async with proxy():
            result = await talk.run(Client(talk))
            report(talk, {**result, "http": await http()})


if __name__ == "__main__":
    asyncio.run(main())
