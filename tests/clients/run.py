"""Runs the field's own clients against a stack, each with its default settings, and says which of them can talk to it.

    python tests/clients/run.py                              all, against a stack that is started for it
    python tests/clients/run.py --tls openai-js              one, against a gateway that speaks TLS itself
    python tests/clients/run.py openai --address HOST:PORT --key KEY        one, against a gateway that runs

Each client has a spoken turn in real time, an interruption, and a connection that is cut (see `talk.py`). The Python
clients that the project's own environment has are `openai` and `agents`; the others need `make client-test`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import ssl
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cutting_proxy import CuttingProxy

from services.local.certificate import Certificate, obtain
from services.local.stack import LocalStack
from training.data.world.speech.espeak import speaker

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RATE = 24_000  # Hz
QUESTION, WORD = "what is two plus three?", "five"
LONG_QUESTION = "count from one to seven."
CLIENT_SECONDS = 240.0  # that a client may take
LEAST_AUDIO = 0.2  # seconds of an answer


@dataclass(frozen=True)
class Program:
    file: str
    environment: str = "project"  # whose Python runs it; `node`
    tls: bool = False  # it speaks nothing else


CLIENTS = {
    "openai": Program("openai_python.py"),
    "agents": Program("agents_python.py"),
    "openai-js": Program("openai_js.mjs", "node", tls=True),
    "agents-js": Program("agents_js.mjs", "node"),
    "pipecat": Program("pipecat_python.py", "clients"),
    "livekit": Program("livekit_python.py", "clients"),
    "litellm": Program("litellm_python.py", "clients"),
}


async def run_client(
    program: Program, address: str, arguments: argparse.Namespace, folder: Path, certificate: Certificate
) -> dict:
    """What a client reports. `address`: host:port of the gateway's HTTP server; `folder`: of the questions."""
    host, _, port = address.rpartition(":")
    adds_tls = program.tls and not arguments.tls
    async with CuttingProxy(host, int(port), server_context(certificate) if adds_tls else None) as proxy:
        scheme = "https" if program.tls or arguments.tls else "http"
        environment = variables(f"{scheme}://{proxy.address}/v1", arguments.key, folder, certificate)
        process = await asyncio.create_subprocess_exec(
            *command(program),
            cwd=HERE,
            env={**os.environ, **environment, "CLIENT_CUT": proxy.cut_url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
    return last_report(out.decode(), err.decode())


def variables(url: str, key: str, folder: Path, certificate: Certificate) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": key,
        "CLIENT_QUESTION": str(folder / "question.wav"),
        "CLIENT_LONG_QUESTION": str(folder / "long.wav"),
        "NODE_EXTRA_CA_CERTS": str(certificate.authority),
        "SSL_CERT_FILE": str(certificate.authority),
        "OPENAI_AGENTS_DISABLE_TRACING": "1",  # it goes to OpenAI
    }


def command(program: Program) -> list[str]:
    if program.environment == "node":
        return [shutil.which("node") or "node", program.file]
    python = sys.executable if program.environment == "project" else str(ROOT / ".venv-clients/bin/python")
    return [python, program.file]


def last_report(out: str, err: str) -> dict:
    for line in reversed(out.splitlines()):
        with contextlib.suppress(ValueError):
            if isinstance(found := json.loads(line, parse_float=lambda number: round(float(number), 2)), dict):
                return found
    return {"failed": f"no report; {(err or out).strip()[-1000:]}"}


def faults(result: dict, word: str) -> list[str]:
    """What is wrong with what a client reported; `word`: which each answer to the question must hold."""
    if "failed" in result:
        return [result["failed"], *result.get("errors", [])]
    answers = {
        "the turn": result["turn"],
        "the turn after the interruption": result["interruption"]["next"],
        "the turn after the loss": result["reconnect"]["next"],
    }
    found = [f"error: {error}" for error in result["errors"]]
    for name, answer in answers.items():
        if answer["audio_s"] < LEAST_AUDIO:
            found.append(f"{name} has {answer['audio_s']:.2f} s of audio")
        if not answer["text"].strip() or word not in answer["text"]:
            found.append(f"{name} says {answer['text']!r}")
    if not result["interruption"]["truncated"]:
        found.append("nothing was truncated")
    return found


def write_questions(folder: Path) -> None:
    write_wav(folder / "question.wav", QUESTION)
    write_wav(folder / "long.wav", LONG_QUESTION)


def write_wav(path: Path, text: str) -> None:
    samples = speaker().speak(text, "en-us", wpm=150, sample_rate=RATE)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    return context


@contextlib.contextmanager
def server(arguments: argparse.Namespace, certificate: Certificate) -> Iterator[str]:
    """host:port of a gateway's HTTP server: the one that was named, or of a stack that lives as long as the context."""
    if arguments.address:
        yield arguments.address
        return
    tls = certificate if arguments.tls else None
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(arguments.checkpoint, Path(folder), 0, 0, certificate=tls) as stack,
    ):
        yield stack.state.http


async def run_all(address: str, arguments: argparse.Namespace, folder: Path, certificate: Certificate) -> int:
    """Returns how many clients failed."""
    failed = 0
    for name in arguments.names or CLIENTS:
        began = time.monotonic()
        result = await run_client(CLIENTS[name], address, arguments, folder, certificate)
        wrong = faults(result, "" if arguments.any_answer else WORD)
        failed += bool(wrong)
        seconds = round(time.monotonic() - began, 1)
        print(json.dumps({"client": name, **result, "seconds": seconds}, ensure_ascii=False), flush=True)
        print(f"{name}: {'; '.join(wrong) or 'can talk'}", flush=True)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)}; none: all")
    parser.add_argument(
        "--address", help="host:port of the HTTP server of a gateway that runs; none: a stack is started"
    )
    parser.add_argument("--key", default="none", help="an API key, where the gateway asks for one")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints/nano", help="of the stack")
    parser.add_argument("--tls", action="store_true", help="the gateway that is started speaks TLS, with all clients")
    parser.add_argument("--any-answer", action="store_true", help="the answers need not be right (random weights)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CLIENTS):
        parser.error(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_questions(folder)
        certificate = obtain(folder, [])
        with server(arguments, certificate) as address:
            failed = asyncio.run(run_all(address, arguments, folder, certificate))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
