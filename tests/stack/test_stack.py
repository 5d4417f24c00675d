"""The whole stack as a user meets it: `parley ask`, `status`, what happens when a process dies."""

import contextlib
import json
import re
import signal
import socket
import time
import urllib.request

import grpc
import psutil
import pytest
from PIL import Image

from protos.parley.v1 import vision_encoder_pb2
from protos.parley.v1.vision_encoder_pb2_grpc import VisionEncoderStub
from services.local import processes
from services.local.stack import LocalStack
from services.local.standby import IDLE
from services.registry import SERVICES
from services.telemetry.session_hash import session_hash


def get(address: str, page: str) -> str:
    with urllib.request.urlopen(f"http://{address}{page}", timeout=10) as answer:
        return answer.read().decode()


def ask_until_it_works(parley, *arguments: str, tries: int = 60) -> None:
    for _ in range(tries):
        done = parley("ask", *arguments, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.5)
    raise AssertionError(done.stdout + done.stderr)


def process_of(stack, name: str) -> psutil.Process:
    """The process of the stack whose title or command line holds `name`."""
    for pid in processes.descendants(stack.state.supervisor_pid):
        process = psutil.Process(pid)
        if name in " ".join(process.cmdline()):
            return process
    raise AssertionError(f"no process {name}")


@pytest.fixture(scope="module")
def picture(stack_folder):
    path = stack_folder / "scene.png"
    Image.new("RGB", (96, 96), "red").save(path)
    return path


@pytest.fixture(scope="module")
def question(stack_folder):
    """A second and a half of a hum: random weights take everything for a question."""
    import numpy as np

    from parley.media.audio import write_wav

    path = stack_folder / "question.wav"
    time_axis = np.arange(24_000) / 16_000
    write_wav(path, (0.3 * np.sin(2 * np.pi * 220 * time_axis)).astype(np.float32), 16_000)
    return path


def test_a_spoken_question_about_a_picture_is_answered_aloud(stack, parley, picture, question, stack_folder):
    out = stack_folder / "answer.wav"
    done = parley("ask", "--audio", question, "--image", picture, "--out", out)
    for line in ("state", "answer", "latency", "session"):
        assert f"\n{line}" in f"\n{done.stdout}", done.stdout
    assert out.stat().st_size > 1000


def test_a_session_goes_on_in_another_call(stack, parley):
    first = parley("ask", "--text", "hello", "--text-only").stdout
    session = first.split("session")[1].strip()
    again = parley("ask", "--text", "and now?", "--text-only", "--session", session).stdout
    assert again.split("session")[-1].strip() == session


def test_an_unknown_session_is_refused_in_one_line(stack, parley):
    done = parley("ask", "--text", "hello", "--session", "nobody-has-this", check=False)
    assert done.returncode == 1 and "NOT_FOUND" in done.stderr and "Traceback" not in done.stderr


def test_status_shows_every_process_and_the_stack_fits_in_4_gb(stack, parley):
    report = json.loads(parley("status", "--json").stdout)
    assert report["ready"] and report["health"] == {"gateway": "ok", "services": "ok"}
    assert {*SERVICES, "services.gateway", "haproxy"} <= set(report["memory_mb"])
    resident, share = report["memory_mb"]["total"]
    # Resident memory counts a page of torch or of Ray once for every process; the machine needs it once.
    assert 0 < share < min(resident, 4096)
    assert "gateway" in parley("status").stdout


def test_every_process_has_a_page_of_metrics(stack, parley):
    parley("ask", "--text", "hello")
    assert re.search(r'^parley_turns_total{reason="length"} [1-9]', get(stack.state.http, "/metrics"), re.MULTILINE)
    for service in SERVICES:
        assert f'service="{service}"' in get(stack.state.metrics[service], "/metrics")
    assert get(stack.state.serve_http, "/-/healthz") == "success"


def test_a_turn_is_one_trace_through_all_processes(stack, parley, stack_folder, question, collector):
    picture = stack_folder / "traced.png"
    Image.new("RGB", (96, 96), "green").save(picture)  # one that the store does not keep yet: it must be encoded
    session = parley("ask", "--audio", question, "--image", picture).stdout.split("session")[-1].strip()
    deadline, traced = time.monotonic() + 60, set()
    while traced != {"gateway", *SERVICES}:  # each process sends its spans by itself
        assert time.monotonic() < deadline, traced
        time.sleep(0.2)
        turns = [
            span.trace_id
            for span in collector.spans
            if span.name == "turn" and span.attributes["parley.session"] == session_hash(session)
        ]
        traced = {span.service for span in collector.spans if span.trace_id in turns}
    spans = [span for span in collector.spans if span.trace_id in turns]
    ids = {span.span_id for span in spans}
    assert len(turns) == 1 and all(not span.parent_id or span.parent_id in ids for span in spans)


async def test_services_take_calls_with_the_token_only(stack):
    async with grpc.aio.insecure_channel(stack.state.services) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await VisionEncoderStub(channel).Encode(
                vision_encoder_pb2.EncodeVisionRequest(image=b"x"),
                metadata=(("application", "vision_encoder"),),
                timeout=20,
            )
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
        bearer = ("authorization", f"Bearer {stack.state.service_token}")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await VisionEncoderStub(channel).Encode(
                vision_encoder_pb2.EncodeVisionRequest(image=b"x"),
                metadata=(("application", "vision_encoder"), bearer),
                timeout=20,
            )
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_second_stack_in_the_same_folder_is_refused(stack, tiny_checkpoint):
    with pytest.raises(ValueError, match="already runs here"):
        LocalStack(tiny_checkpoint, stack.directory, port=0, http_port=0).start()


def imported_torch(process: psutil.Process) -> bool:
    return any("libtorch" in mapped.path for mapped in process.memory_maps())


def test_a_process_that_stands_by_takes_the_place_of_a_killed_replica(stack):
    deadline = time.monotonic() + 200
    while True:
        assert time.monotonic() < deadline
        with contextlib.suppress(AssertionError, psutil.NoSuchProcess):  # it comes some time after the stack
            if imported_torch(standby := process_of(stack, IDLE)):
                break
        time.sleep(0.5)
    process_of(stack, "ServeReplica:vision_encoder").send_signal(signal.SIGKILL)
    while standby.is_running() and "ServeReplica:vision_encoder" not in " ".join(standby.cmdline()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert standby.is_running()


@pytest.mark.parametrize("name", SERVICES)
def test_a_killed_replica_comes_back(stack, parley, picture, question, name):
    process_of(stack, f"ServeReplica:{name}").send_signal(signal.SIGKILL)
    ask_until_it_works(parley, "--audio", str(question), "--image", str(picture))


@pytest.mark.parametrize("name", ["services.gateway", "valkey-server"])
def test_a_killed_gateway_or_valkey_is_started_again(stack, parley, name):
    old = process_of(stack, name)
    old.kill()
    ask_until_it_works(parley, "--text", "hello", "--text-only")
    assert process_of(stack, name).pid != old.pid


def test_a_port_that_is_taken_is_named_with_its_flag(tiny_checkpoint, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} is taken; choose another with --http-port"):
            LocalStack(tiny_checkpoint, tmp_path / ".parley", port=0, http_port=port).start()


def test_a_folder_that_is_no_checkpoint_is_refused(parley, tmp_path):
    done = parley("up", "--checkpoint", tmp_path, folder=tmp_path, check=False)
    assert done.returncode == 2 and "is no checkpoint" in done.stderr and "Traceback" not in done.stderr


def test_down_and_status_where_nothing_runs(parley, tmp_path):
    assert parley("down", folder=tmp_path).stdout == "nothing runs here\n"
    assert parley("status", folder=tmp_path, check=False).returncode == 1
