"""`parley launch` and `parley jobs` as a user meets them: dry runs, and mistakes in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kubernetes import client

ROOT = Path(__file__).parents[2]
GIVEN = ["--image", "parley-train:0.1.0", "--checkpoints", "runs"]
MODELS = {kind: getattr(client, f"V1{kind}") for kind in ("Job", "Service", "ServiceAccount", "Role", "RoleBinding")}


def parley(*arguments: str, kubeconfig: str = "/nowhere/config") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cli.main", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "KUBECONFIG": kubeconfig, "HOME": "/nowhere"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_a_dry_run_prints_every_object_and_needs_no_cluster():
    arguments = ("--stages", "1.1-3.2", "--nodes", "4", "--gpus-per-node", "8", "--data", "corpora", "--dry-run")
    done = parley("launch", "vita-7b", *GIVEN, *arguments)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    for each in objects:
        MODELS[each["kind"]].from_dict(each)
    names = [each["metadata"]["name"] for each in objects if each["kind"] == "Job"]
    assert names[:2] == ["vita-7b-launcher", "vita-7b-1-1"] and names[-1] == "vita-7b-3-2" and len(names) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nano", *GIVEN, "--stages", "9.9"], "nano has no stage '9.9'"),
        (["nano", *GIVEN, "--stages", "3.2-1.1"], "stage 3.2 comes after 1.1"),
        (["nano9", *GIVEN], "nano9"),
        (["nano", *GIVEN, "--nodes", "17"], "cannot be shared by 17 processes"),
        (["nano", *GIVEN, "--env", "NAME"], "'NAME' is no pair; write NAME=VALUE"),
        (["nano", "--checkpoints", "runs"], "--image"),
        (["nano", *GIVEN], "no cluster is configured"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(arguments, message):
    done = parley("launch", *arguments)
    assert done.returncode in (1, 2) and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", [["list"], ["watch", "run"], ["logs", "run"], ["cancel", "run"]])
def test_jobs_need_a_cluster(command):
    done = parley("jobs", *command)
    assert done.returncode == 1 and "no cluster is configured" in done.stderr and "Traceback" not in done.stderr
