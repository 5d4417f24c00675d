"""The supervisor, with stand-ins for the processes that take long to start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from services.gateway.settings import GatewaySettings
from services.local import hung, processes, state, supervisor
from services.local.supervisor import MAX_RESTARTS, StackError, Supervisor

ROOT = Path(__file__).parents[3]


@pytest.fixture
def stack(options, monkeypatch):
    """A supervisor in this process. Its `stop` would end what other tests have started here."""
    monkeypatch.setattr(supervisor, "stop_requested", lambda seconds: False)
    stack = Supervisor(options)
    stack.make_folders()
    yield stack
    for child in stack.children.values():
        processes.end(child, 3.0)
    stack.reservation.close()
    shutil.rmtree(stack.runtime)


def wait_until(condition, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


NODE = """
import json, os, sys, time
print("starting")
time.sleep(0.3)
print(json.dumps({"ready": ["llm_core"]}), flush=True)
os.write(1, b"x" * (1 << 20))  # far more than a pipe holds
open("went-on", "w").close()
time.sleep(60)
"""


def test_a_node_that_writes_much_is_never_blocked(stack, tmp_path, monkeypatch):
    package = tmp_path / "services" / "local"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "node.py").write_text(NODE)
    monkeypatch.chdir(tmp_path)
    stack.start_services()
    assert not stack.services_are_ready()
    wait_until(lambda: stack.services_are_ready() and (tmp_path / "went-on").exists())
    assert stack.children["services"].poll() is None


def test_valkey_never_evicts_and_has_memory_for_embeddings_and_sessions(stack):
    stack.start_valkey()
    client = redis.Redis.from_url(stack.state.redis_url)

    def is_there() -> bool:
        stack.check_children()  # which starts it again, or says why it ended
        return Path(stack.state.redis_url.removeprefix("unix://")).exists()

    wait_until(is_there)
    assert client.config_get("maxmemory") == {"maxmemory": str((100 + 512) << 20)}
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    client.close()


def test_what_valkey_holds_survives_its_death(stack):
    stack.start_valkey()
    client = redis.Redis.from_url(stack.state.redis_url)
    wait_until(Path(stack.state.redis_url.removeprefix("unix://")).exists)
    client.set("session", "said so far", px=600_000)
    stack.children["valkey"].kill()
    stack.children["valkey"].wait()

    def is_back() -> bool:
        stack.check_children()
        try:
            return client.get("session") == b"said so far"
        except redis.ConnectionError:
            return False

    wait_until(is_back)
    assert 0 < client.pttl("session") <= 600_000
    client.close()


def test_the_gateway_and_the_services_get_the_same_addresses(stack, options, monkeypatch):
    environment = stack.environment
    monkeypatch.setattr(os, "environ", environment)
    gateway = GatewaySettings()
    assert gateway.upstream.addresses == stack.state.services
    assert gateway.store.redis_url == stack.state.redis_url and gateway.store.embeddings_mb == options.embeddings_mb
    assert (gateway.server.host, gateway.server.port, gateway.server.http_port) == ("127.0.0.1", 1, 2)
    for service, address in stack.state.metrics.items():
        assert environment[f"PARLEY_{service.upper()}_METRICS_PORT"] == address.rpartition(":")[2]
    addresses = [stack.state.services, stack.state.serve_http, *stack.state.metrics.values()]
    assert len(set(addresses)) == 6
    after = {f"127.0.0.1:{1 + int(address.rpartition(':')[2])}" for address in stack.state.metrics.values()}
    assert not after & set(addresses)  # a second replica has the port after the first one's


def start_failing(stack: Supervisor, name: str) -> None:
    stack.start_child(name, [sys.executable, "-c", "print('no memory'); raise SystemExit(3)"])
    stack.children[name].wait()


def test_a_gateway_that_ends_again_and_again_is_given_up(stack, monkeypatch, capsys):
    monkeypatch.setattr(stack, "start_gateway", lambda: start_failing(stack, "gateway"))
    monkeypatch.setattr(supervisor.time, "sleep", lambda seconds: None)
    stack.start_gateway()
    for _ in range(MAX_RESTARTS):
        stack.check_children()
    with pytest.raises(StackError, match="gateway ended with status 3: no memory"):
        stack.check_children()
    assert capsys.readouterr().out.count("gateway ended with status 3: no memory") == MAX_RESTARTS


def test_a_gateway_that_hangs_is_killed_and_started_again(stack, monkeypatch, capsys):
    started = []

    def start_gateway() -> None:
        stack.start_child("gateway", ["sleep", "60"])
        started.append(stack.children["gateway"].pid)

    monkeypatch.setattr(stack, "start_gateway", start_gateway)
    monkeypatch.setattr(supervisor, "stop_requested", lambda seconds: len(started) == 2)
    monkeypatch.setattr(hung, "PERIOD", 0.0)
    monkeypatch.setattr(hung, "ANSWER_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stack.state.http = f"127.0.0.1:{silent.getsockname()[1]}"
        stack.start_gateway()
        stack.run()
    assert processes.started_at(started[0]) is None and processes.started_at(started[1]) is not None
    assert "the gateway runs and answers nothing; killing it" in capsys.readouterr().out


def test_services_that_have_never_run_are_not_started_again(stack):
    start_failing(stack, "services")
    with pytest.raises(StackError, match=r"services ended with status 3: no memory \(all of it: .*services.log\)"):
        stack.check_children()


def test_the_end_is_waited_for_no_longer_than_asked(stack, options):
    options.start_timeout = 0.0
    with pytest.raises(StackError, match="the gateway not ready in 0 s"):
        stack.wait_for("the gateway", lambda: False)


@pytest.mark.parametrize("ready", [False, True])
def test_the_logs_of_ray_are_kept_where_the_stack_did_not_become_ready(stack, ready):
    logs = stack.runtime / "ray" / "session_latest" / "logs"
    (logs / "serve").mkdir(parents=True)
    (logs / "serve" / "controller.log").write_text("no memory")
    stack.state.ready = ready
    stack.keep_ray_logs()
    assert (stack.logs / "ray" / "serve" / "controller.log").exists() is not ready


def test_a_stack_stops_that_has_no_logs_of_ray(stack):
    stack.keep_ray_logs()
    assert not (stack.logs / "ray").exists()


# Runs the supervisor's own `main` with names that the test knows.
MAIN = (
    "import sys; from services.local import supervisor; "
    "supervisor.secrets.token_hex = lambda size: sys.argv[1]; supervisor.main()"
)


@pytest.mark.parametrize("what", ["logs", "state.tmp"])
def test_a_failure_at_once_is_explained_and_leaves_nothing(options, what):
    in_the_way = Path(options.directory) / what
    in_the_way.parent.mkdir()
    in_the_way.touch() if what == "logs" else in_the_way.mkdir()
    name = f"test-{os.getpid()}"
    done = subprocess.run(
        [sys.executable, "-c", MAIN, name],
        cwd=ROOT,
        input=json.dumps(vars(options)) + "\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr == ""
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "failed" and what in last["text"]
    assert not Path(f"/tmp/parley-{name}").exists()


# A supervisor whose only child starts a grandchild in a session of its own, which outlives its parent.
WITH_A_GRANDCHILD = """
import subprocess, sys
from services.local import supervisor
grandchild = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
class One(supervisor.Supervisor):
    def start_all(self):
        self.make_folders()
        self.start_child("gateway", [sys.executable, "-c", grandchild + "; import time; time.sleep(600)"])
supervisor.Supervisor = One
supervisor.main()
"""


def test_nothing_is_left_when_standard_input_closes(options):
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_A_GRANDCHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(json.dumps(vars(options)).encode() + b"\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["event"] == "ready"
    wait_until(lambda: len(processes.descendants(process.pid)) == 2)
    tree = processes.descendants(process.pid)
    process.stdin.close()
    assert process.wait(60) == 0
    assert [pid for pid in tree if processes.started_at(pid) is not None] == []
    assert os.listdir(options.directory) == ["logs"]
    process.stdout.close()


def test_what_is_left_has_what_the_descendants_lack(stack, monkeypatch):
    """Two processes of a stack outlived it: the list of descendants was read while their parent ended."""
    monkeypatch.setattr(processes, "descendants", lambda pid: [])
    process = subprocess.Popen(["sleep", "600"], env=stack.environment)
    try:
        assert stack.what_is_left() == [process.pid]
    finally:
        process.kill()
        process.wait()


# A supervisor of a node that starts a replica in a session of its own, which outlives it, and of a Valkey.
WITH_A_NODE = """
import sys
from services.local import supervisor
node = (
    "import os, subprocess, time; replica = subprocess.Popen(['sleep', '600'], start_new_session=True);"
    "print(os.getpid(), replica.pid, os.environ['PARLEY_CHECKPOINT'], flush=True); time.sleep(600)"
)
valkey = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
class Two(supervisor.Supervisor):
    def start_all(self):
        self.make_folders()
        self.start_child("valkey", [sys.executable, "-c", valkey])
        self.start_services()
        self.state.ready = True
    def start_services(self):
        self.start_child("services", [sys.executable, "-c", node])
supervisor.Supervisor = Two
supervisor.main()
"""


def test_services_that_ran_start_again_once_nothing_is_left_of_them(options, tmp_path):
    """They serve what was promoted last; the other processes stay."""
    directory = Path(options.directory)
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_A_NODE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(json.dumps(vars(options)).encode() + b"\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["event"] == "ready"

    def printed(name: str) -> list[list[str]]:
        return [line.split() for line in (directory / "logs" / f"{name}.log").read_text().splitlines()]

    wait_until(lambda: printed("services") and printed("valkey"))
    ((node, replica, checkpoint),), ((valkey,),) = printed("services"), printed("valkey")
    state.write(directory, replace(state.read(directory), checkpoint=str(tmp_path / "promoted")))
    os.kill(int(node), signal.SIGKILL)
    assert json.loads(process.stdout.readline())["text"].startswith("services ended with status -9")
    wait_until(lambda: len(printed("services")) == 2)
    assert processes.started_at(int(replica)) is None and processes.started_at(int(valkey)) is not None
    assert (checkpoint, printed("services")[1][2]) == (options.checkpoint, str(tmp_path / "promoted"))
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


def test_what_the_processes_of_a_stack_write_is_for_its_user_only(options):
    """Others could read the logs: they named sessions, and who knows a session opens it."""
    process = subprocess.run(
        [sys.executable, "-c", WITH_A_NODE], cwd=ROOT, input=json.dumps(vars(options)) + "\n", text=True
    )
    assert process.returncode == 0
    logs = list((Path(options.directory) / "logs").iterdir())
    assert {log.stat().st_mode & 0o777 for log in logs} == {0o600}


def test_others_of_the_machine_can_read_neither_logs_nor_tokens(stack):
    modes = [path.stat().st_mode & 0o777 for path in (stack.logs, stack.runtime, stack.directory / "state.json")]
    assert modes == [0o700, 0o700, 0o600]
