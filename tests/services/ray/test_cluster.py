"""The Serve of a cluster: requests of the REST API, against a server that keeps what Serve's own schema accepts."""

import pytest

from services.ray import deploy
from services.ray.cluster import Cluster, ClusterError, auth_token
from services.ray.serve_config import Release, serve_config
from services.registry import SERVICES


def test_what_was_deployed_can_be_read_and_deployed_again(cluster):
    assert cluster.releases() == [] and cluster.config() == {"applications": []}
    releases = [Release("a", "made/3.1"), Release("b", "made/3.2")]
    cluster.deploy(serve_config(releases=releases))
    assert cluster.releases() == releases
    cluster.deploy(cluster.config())
    assert cluster.releases() == releases


def test_deploying_again_keeps_a_promoted_checkpoint_and_changes_replicas(cluster, monkeypatch):
    cluster.deploy(serve_config(releases=[Release("b", "made/3.2")]))
    monkeypatch.setenv("PARLEY_LLM_CORE_NUM_REPLICAS", "2")
    deploy.deploy(cluster)
    assert cluster.releases() == [Release("b", "made/3.2")]
    replicas = {each["name"]: each["deployments"][0]["num_replicas"] for each in cluster.config()["applications"]}
    assert replicas == {f"{name}-b": 2 if name == "llm_core" else 1 for name in SERVICES}


def test_the_first_deployment_takes_the_checkpoint_of_the_nodes(cluster):
    deploy.deploy(cluster)
    assert cluster.releases() == [Release("a", "")]


def test_an_application_that_fails_is_named_with_its_last_line(cluster, serve_server):
    message = "Traceback (most recent call last):\n  File …\nValueError: /runs/none is no checkpoint\n"
    serve_server.states["llm_core"] = {
        "status": "DEPLOY_FAILED",
        "message": "the deployment failed",
        "deployments": {"llm_core": {"status": "DEPLOY_FAILED", "message": message}},
    }
    cluster.deploy(serve_config())
    with pytest.raises(ClusterError, match="llm_core failed to start: ValueError: /runs/none is no checkpoint"):
        cluster.wait_until_running(list(SERVICES), 5)


def test_what_does_not_come_up_in_time_is_named(cluster, serve_server):
    serve_server.states["llm_core"] = {"status": "DEPLOYING", "message": "", "deployments": {}}
    cluster.deploy(serve_config())
    said = []
    with pytest.raises(ClusterError, match=r"llm_core not running after 0.1 s"):
        cluster.wait_until_running(list(SERVICES), 0.1, said.append)
    assert said == ["waiting for llm_core"]


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        (None, "another", "answers HTTP 401: Unauthorized"),
        ("http://127.0.0.1:9", None, "cannot be reached at http://127.0.0.1:9"),
        ("no address", None, "cannot be reached at no address"),
    ],
)
def test_a_cluster_that_cannot_be_asked_says_why(cluster, url, token, said):
    with pytest.raises(ClusterError, match=said):
        Cluster(url or cluster.url, token or cluster.token).releases()


def test_the_token_comes_from_the_environment_or_a_file(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert auth_token() == ""
    (tmp_path / "token").write_text("kept\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert auth_token() == "kept"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert auth_token() == "given"
