"""The chain of stages, run by the real launcher over a real client against an API server in this process."""

import threading
import time

import pytest

from training.launch.kubernetes import cluster as cluster_module
from training.launch.kubernetes.cluster import ClusterError
from training.launch.kubernetes.launcher import Chain, StageFailedError
from training.launch.kubernetes.objects import launcher_objects
from training.launch.kubernetes.run import start

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Running:
    """A chain in a thread of its own."""

    def __init__(self, cluster, settings):
        self.error = None
        self._thread = threading.Thread(target=self._run, args=(Chain(cluster, settings),), daemon=True)
        self._thread.start()

    def _run(self, chain):
        try:
            chain.run()
        except (StageFailedError, ClusterError) as error:
            self.error = error

    def wait(self):
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def jobs(server):
    return list(server.objects.get("jobs", {}))


def test_each_stage_starts_when_the_one_before_is_complete(server, cluster, settings):
    running = Running(cluster, settings())
    wait_for(lambda: jobs(server) == ["run-0-1"])
    server.set_job("run-0-1", active=1)
    time.sleep(0.3)
    assert jobs(server) == ["run-0-1"]
    server.set_job("run-0-1", "Complete")
    wait_for(lambda: jobs(server) == ["run-0-1", "run-0-2"])
    server.set_job("run-0-2", "Complete")
    assert running.wait() is None
    assert sorted(server.objects["services"]) == ["run-0-1", "run-0-2"]


def test_a_launcher_that_was_moved_goes_on(server, cluster, settings):
    first = Running(cluster, settings())
    wait_for(lambda: jobs(server) == ["run-0-1"])
    second = Running(cluster, settings())
    server.set_job("run-0-1", "Complete")
    wait_for(lambda: len(jobs(server)) == 2)  # whoever comes second finds it made
    server.set_job("run-0-2", "Complete")
    assert first.wait() is None and second.wait() is None
    assert jobs(server) == ["run-0-1", "run-0-2"]


def test_a_stage_that_fails_ends_the_chain_with_its_message(server, cluster, settings):
    running = Running(cluster, settings())
    wait_for(lambda: jobs(server))
    server.set_job("run-0-1", "Failed", "container train for pod run-0-1-0 exited with 2")
    assert "stage 0.1 failed: PodFailurePolicy: container train for pod run-0-1-0 exited with 2" in str(running.wait())
    assert jobs(server) == ["run-0-1"]


def test_a_watch_that_breaks_and_a_busy_server_are_borne(server, cluster, settings, monkeypatch):
    monkeypatch.setattr(cluster_module.time, "sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.05)))
    server.broken_watches, server.fail = 1, [503, 429]
    running = Running(cluster, settings(stages=("0.1",)))
    wait_for(lambda: jobs(server))
    server.set_job("run-0-1", active=1)
    time.sleep(0.3)
    server.set_job("run-0-1", "Complete")
    assert running.wait() is None and server.broken_watches == 0 and not server.fail


def test_the_launchers_rights_are_those_that_it_uses(server, cluster, settings):
    running = Running(cluster, settings(stages=("0.1",)))
    wait_for(lambda: jobs(server))
    server.set_job("run-0-1", "Complete")
    running.wait()
    role = next(each for each in launcher_objects(settings()) if each["kind"] == "Role")
    granted = {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert set(server.asked) <= granted


@pytest.mark.parametrize(("groups", "kinds"), [([], {"jobs"}), (["jobset.x-k8s.io"], {"jobsets"})])
def test_a_run_is_started_by_what_the_cluster_has(server, cluster, settings, groups, kinds):
    server.groups = groups
    assert "2 stages" in start(cluster, settings())
    assert {kind for kind in ("jobs", "jobsets") if server.objects.get(kind)} == kinds


def test_a_run_whose_name_is_taken_is_refused_and_one_that_ended_is_replaced(server, cluster, settings):
    start(cluster, settings())
    with pytest.raises(ClusterError, match="a run run is there already"):
        start(cluster, settings())
    server.set_job("run-launcher", "Failed", "stage 0.1 failed")
    assert "2 stages" in start(cluster, settings())


def test_a_cancelled_run_leaves_nothing(server, cluster, settings):
    start(cluster, settings())
    running = Running(cluster, settings())
    wait_for(lambda: "run-0-1" in jobs(server))
    assert cluster.delete_run("run") == 6  # launcher, stage, its service, account, role, binding
    assert "the run was cancelled" in str(running.wait())  # a launcher that still runs makes nothing anew
    assert not any(server.objects[kind] for kind in server.objects)


def test_what_is_forbidden_is_told_in_the_servers_words(server, cluster, settings):
    server.forbidden = {("create", "roles")}
    with pytest.raises(ClusterError, match=r'cannot create Role run-launcher in namespace team: .*User "ann" cannot'):
        start(cluster, settings())


def test_a_cluster_out_of_reach_is_told(server, cluster, monkeypatch):
    monkeypatch.setattr(cluster_module.time, "sleep", lambda seconds: None)
    server.shutdown()
    server.server_close()
    with pytest.raises(ClusterError, match="the cluster cannot be reached"):
        cluster.jobs()
