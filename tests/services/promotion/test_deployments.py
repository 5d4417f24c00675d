"""Releases in a cluster: what is told to its Serve, whose own schema checks it."""

import pytest

from services.promotion.deployments import ClusterDeployments
from services.ray.cluster import ClusterError
from services.ray.serve_config import Placement, Release, serve_config
from services.registry import SERVICES


@pytest.fixture
def deployments(cluster):
    cluster.deploy(serve_config({"llm_core": Placement(num_replicas=2, num_gpus=0.5)}, [Release("a", "made/3.1")]))
    return ClusterDeployments(cluster, seconds=0.2)


def test_a_release_is_deployed_beside_the_other_and_placed_like_it(deployments, cluster):
    deployments.deploy(Release("b", "made/3.2"), Release("a", "made/3.1"), print)
    assert deployments.releases() == [Release("a", "made/3.1"), Release("b", "made/3.2")]
    configs = {config["name"]: config for config in cluster.config()["applications"]}
    assert len(configs) == 2 * len(SERVICES)
    old, new = configs["llm_core"], configs["llm_core-b"]
    assert new["deployments"] == old["deployments"] and new["route_prefix"] == "/llm_core-b"
    deployments.remove("a")
    assert deployments.releases() == [Release("b", "made/3.2")]
    deployments.remove("a")  # nothing is there
    assert deployments.releases() == [Release("b", "made/3.2")]


def test_a_release_that_fails_leaves_the_other(deployments, serve_server):
    serve_server.states["llm_core-b"] = {"status": "DEPLOY_FAILED", "message": "no such folder", "deployments": {}}
    with pytest.raises(ClusterError, match="llm_core-b failed to start: no such folder"):
        deployments.deploy(Release("b", "none"), Release("a"), print)
    deployments.remove("b")
    assert deployments.releases() == [Release("a", "made/3.1")]


@pytest.mark.parametrize(("now", "initial"), [(5, 5), (12, 8), (0, 2)])
def test_a_service_that_scales_starts_with_as_many_replicas_as_there_are(cluster, serve_server, now, initial):
    running = {"status": "RUNNING", "message": "", "target_num_replicas": now}
    state = {"status": "RUNNING", "message": "", "deployments": {"llm_core": running}}
    serve_server.states |= {"llm_core": state}
    cluster.deploy(serve_config({"llm_core": Placement(2, max_replicas=8)}, [Release("a", "made/3.1")]))
    ClusterDeployments(cluster, seconds=0.2).deploy(Release("b", "made/3.2"), Release("a", "made/3.1"), print)
    configs = {config["name"]: config["deployments"][0] for config in cluster.config()["applications"]}
    assert configs["llm_core-b"]["autoscaling_config"]["initial_replicas"] == initial
    assert "initial_replicas" not in configs["llm_core"]["autoscaling_config"]
    assert "autoscaling_config" not in configs["speech_decoder-b"]
