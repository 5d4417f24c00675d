"""`parley ask` with a gateway that can be told to fail: what the user reads, with which status it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile

from cli import client as client_module
from cli.ask import converse
from cli.client import Client, Question
from cli.errors import CommandError
from protos.parley.v1 import conversation_pb2 as wire

ROOT = Path(__file__).parents[2]

# It answers "die" by dying, "fail" with an error, "bye" by ending the stream, and other words with those words, aloud.
GATEWAY = """
import asyncio, os, sys
import grpc
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.conversation_pb2_grpc import ConversationServicer, add_ConversationServicer_to_server

class Fake(ConversationServicer):
    async def Converse(self, requests, context):
        words = ""
        async for event in requests:
            said = dict(turn_id="1", question_id=event.question_id)
            if event.HasField("open"):
                if event.open.session_id not in ("", "s1"):
                    await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such session")
                yield wire.ServerEvent(session=wire.SessionReady(session_id="s1"))
            words = event.text or words
            if not event.HasField("respond"):
                continue
            if words == "bye":
                return
            if words == "fail":
                error = wire.ErrorEvent(code="RESOURCE_EXHAUSTED", message="all rows are taken", retry_after=2)
                yield wire.ServerEvent(error=error, **said)
                yield wire.ServerEvent(done=wire.TurnDone(finish_reason=5), **said)
                continue
            yield wire.ServerEvent(text=wire.TextDelta(text=words), **said)
            if words == "die":
                await asyncio.sleep(0.1)
                os._exit(1)
            yield wire.ServerEvent(audio=wire.AudioDelta(audio=b"x" * 4800, sample_rate=24000), **said)
            yield wire.ServerEvent(done=wire.TurnDone(finish_reason=1, text=words), **said)

async def main():
    server = grpc.aio.server()
    add_ConversationServicer_to_server(Fake(), server)
    print(server.add_insecure_port(f"127.0.0.1:{sys.argv[1] if sys.argv[1:] else 0}"), flush=True)
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""


@pytest.fixture
def gateway():
    """host:port of the fake."""
    process = subprocess.Popen([sys.executable, "-c", GATEWAY], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    yield f"127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.wait()


# A lost connection is tried for a second only.
MAIN = "from cli import client, main; client.RESUME_SECONDS = 1.0; main.main()"


def ask(gateway: str, folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "ask", "--address", gateway, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=typed,
        capture_output=True,
        text=True,
    )


def test_answers_are_written_one_file_a_turn(gateway, tmp_path):
    done = ask(gateway, tmp_path, "--text", "one", "--text", "two", "--out", "said.wav")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines() if line.startswith(("answer", "audio", "session"))] == [
        ["answer", "one"], ["audio", "said.wav"], ["answer", "two"], ["audio", "said-2.wav"], ["session", "s1"],
    ]  # fmt: skip
    assert soundfile.info(tmp_path / "said-2.wav").frames == 2400


def test_a_gateway_that_dies_in_the_middle_is_told_with_how_to_go_on(gateway, tmp_path):
    done = ask(gateway, tmp_path, "--text", "die")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"the gateway at {gateway} is not there, or went away (UNAVAILABLE: " in done.stderr
    assert done.stderr.endswith("; go on with --session s1\n")


def test_a_stream_that_just_ends_is_told(gateway, tmp_path):
    done = ask(gateway, tmp_path, "--text", "bye")
    assert done.returncode == 1
    assert done.stderr == "parley: the gateway closed the conversation; go on with --session s1\n"


def test_a_wrong_session_is_told(gateway, tmp_path):
    done = ask(gateway, tmp_path, "--text", "hello", "--session", "s2")
    assert (done.returncode, done.stderr) == (1, "parley: NOT_FOUND: there is no such session\n")


def test_a_turn_that_fails_ends_a_script_with_the_reason(gateway, tmp_path):
    done = ask(gateway, tmp_path, typed="fail\nhello\n")
    assert done.returncode == 1 and "answer" not in done.stdout
    assert done.stderr == "parley: RESOURCE_EXHAUSTED: all rows are taken (try again in 2 s)\n"


def test_where_the_answer_cannot_be_written_is_told_before_asking(gateway, tmp_path):
    done = ask(gateway, tmp_path, "--text", "die", "--out", "nowhere/said.wav")
    assert (done.returncode, done.stderr) == (2, "parley: --out nowhere/said.wav: there is no folder nowhere\n")


class Terminal:
    """`parley ask` at a terminal."""

    def __init__(self, gateway: str, folder: Path):
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "ask", "--address", gateway, "--no-play"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(theirs)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def wait_for(self, text: str) -> None:
        """Reads until `text` has come; what came up to then is forgotten."""
        while text not in self.seen:
            data = b""
            with contextlib.suppress(OSError):  # Linux's way of saying that the other end is closed
                data = os.read(self.ours, 4096)
            assert data, f"{text!r} never came: {self.seen!r}"
            self.seen += data.decode()
        self.seen = self.seen.split(text, 1)[1]


@pytest.fixture
def terminal(gateway, tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    terminal = Terminal(gateway, tmp_path)
    yield terminal
    terminal.process.kill()
    terminal.process.wait()
    os.close(terminal.ours)


def test_at_a_terminal_a_slip_does_not_end_the_conversation(terminal):
    terminal.wait_for("an empty line ends")
    for typed, seen in (
        ("empty.wav", "parley: empty.wav is empty"),
        ("fail", "parley: RESOURCE_EXHAUSTED: all rows are taken"),
        ("hello", "answer     hello"),
    ):
        terminal.type(f"{typed}\n")
        terminal.wait_for(seen)
    terminal.type("\n")
    terminal.wait_for("session    s1")
    assert terminal.process.wait(60) == 0


def test_ctrl_c_ends_it_while_it_waits_for_a_line(terminal):
    terminal.wait_for("an empty line ends")
    terminal.type("hello\n")
    terminal.wait_for("audio      answer.wav")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(60) != 0


async def test_a_gateway_that_is_being_started_again_is_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    asking = asyncio.create_task(
        converse(f"127.0.0.1:{port}", wire.SessionConfig(), [Question(text="one")], start_seconds=50)
    )
    await asyncio.sleep(0.5)
    assert not asking.done()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", GATEWAY, str(port), cwd=ROOT)
    await asking
    process.kill()
    await process.wait()
    assert "answer     one" in capsys.readouterr().out


async def test_a_gateway_that_does_not_come_is_told():
    with pytest.raises(CommandError, match=r"the gateway at 127.0.0.1:9 was not there for 0.2 s"):
        await converse("127.0.0.1:9", wire.SessionConfig(), [], start_seconds=0.2)


@pytest.fixture
async def hanging():
    """The fake's process, which a test may stop, and its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GATEWAY, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    yield process, f"127.0.0.1:{int(await process.stdout.readline())}"
    process.kill()
    await process.wait()


async def test_a_gateway_that_hangs_is_noticed(hanging, monkeypatch):
    """It was after a minute: gRPC has two timeouts for a ping."""
    process, address = hanging
    monkeypatch.setattr(client_module, "RESUME_SECONDS", 0.0)
    async with Client(address) as client:
        await client.open(wire.SessionConfig(), resumable=True)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(grpc.RpcError, match="ping timeout"):
            await asyncio.wait_for(anext(client.events()), 30)


async def test_a_conversation_that_cannot_be_resumed_outlives_a_gateway_that_hangs_for_a_moment(hanging):
    process, address = hanging
    async with Client(address) as client:
        await client.open(wire.SessionConfig())
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(sum(client_module.RESUMABLE_PINGS) / 1000 + 1.0)
        process.send_signal(signal.SIGCONT)
        assert (await client.ask(Question(text="one"))).complete
