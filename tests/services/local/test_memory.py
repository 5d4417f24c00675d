"""Memory by process: names, and figures that add up."""

import os
import subprocess

import pytest

from services.local import memory


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["ray::ServeReplica:llm_core:llm_core"], "llm_core"),
        (["ray::ServeController"], "ray::ServeController"),
        (["ray::ServeController.listen_for_change"], "ray::ServeController"),
        (["/venv/bin/python", "-m", "services.gateway"], "services.gateway"),
        (["/venv/bin/python", "-u", "/ray/dashboard/dashboard.py", "--host=127.0.0.1"], "dashboard.py"),
        (["/venv/bin/valkey-server unixsocket:/tmp/parley-1/valkey.sock"], "valkey-server"),
        ([], "?"),
    ],
)
def test_processes_are_shown_by_what_they_are(command, name):
    assert memory.name_of(command) == name


def test_children_are_counted_by_name_and_in_the_total():
    children = [subprocess.Popen(["/bin/sleep", "600"]) for _ in range(2)]
    try:
        report = memory.by_process(os.getpid())
        alone = memory.by_process(children[0].pid)
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert list(alone) == ["sleep", "total"] and alone["sleep"] == alone["total"]
    assert list(report)[-1] == "total" and "sleep" in report
    resident, share = report["total"]
    assert 0 < report["sleep"][0] < resident and share <= resident
    assert resident == pytest.approx(sum(value for name, (value, _) in report.items() if name != "total"), abs=1)
