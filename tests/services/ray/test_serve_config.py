"""The Serve config: what Serve's own schema accepts, and the applications that exist."""

import time

import pytest
import yaml
from ray.serve._private.autoscaling_state import DeploymentAutoscalingState
from ray.serve._private.common import DeploymentID, ReplicaID, ReplicaMetricReport, TimeStampedValue
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from services.engine.load import Load
from services.ray.scaling import Scaling
from services.ray.serve_config import Placement, Release, serve_config
from services.registry import SERVICES, import_path


@pytest.mark.parametrize("placements", [None, {"llm_core": Placement(num_replicas=2, num_gpus=1.0)}])
def test_it_is_a_serve_file(placements):
    written = yaml.safe_dump(serve_config(placements), sort_keys=False)
    config = ServeDeploySchema.model_validate(yaml.safe_load(written))
    assert [application.name for application in config.applications] == list(SERVICES)
    for application in config.applications:
        (deployment,) = application.deployments
        wanted = (placements or {}).get(application.name, Placement())
        assert deployment.name == application.name and deployment.num_replicas == wanted.num_replicas
        options = deployment.ray_actor_options
        assert options.num_cpus == 0 and options.label_selector == {"svc": application.name}
        assert (options.num_gpus or 0.0) == wanted.num_gpus


def test_bounds_give_an_autoscaling_config_with_our_policy():
    bounds = {"llm_core": Placement(2, num_gpus=1.0, max_replicas=8, scaling={"down_seconds": 60.0})}
    written = yaml.safe_load(yaml.safe_dump(serve_config(bounds)))
    (deployment,) = ServeDeploySchema.model_validate(written).applications[2].deployments
    assert deployment.is_autoscaling_configured() and "num_replicas" not in deployment.model_fields_set
    config = AutoscalingConfig(**deployment.autoscaling_config)  # as Serve's controller reads it
    assert (config.min_replicas, config.max_replicas, config.initial_replicas) == (2, 8, None)
    policy = config.policy.get_policy()(**config.policy.policy_kwargs)
    assert (policy.scaling.up_seconds, policy.scaling.down_seconds) == (Scaling().up_seconds, 60.0)


def test_the_policy_runs_where_serve_runs_it():
    """Over Serve's own state of a deployment, with the reports of its replicas."""
    config = AutoscalingConfig(
        **Placement(1, max_replicas=4, scaling={"up_seconds": 0}).replica_options["autoscaling_config"]
    )
    name = DeploymentID("llm_core", "llm_core")
    state = DeploymentAutoscalingState(name)
    state.register(DeploymentInfo(DeploymentConfig(autoscaling_config=config), None, 0, "job"), 1)
    replica = ReplicaID("r1", name)
    state.update_running_replica_ids([replica])
    stats = Load(16, 16, 20, 0.3).stats()
    assert state.get_decision_num_replicas(1) == 1  # nothing reported
    points = {metric: [TimeStampedValue(time.time(), value)] for metric, value in stats.items()}
    state.record_request_metrics_for_replica(
        ReplicaMetricReport(replica_id=replica, timestamp=time.time(), metrics=points)
    )
    assert state.get_decision_num_replicas(1) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_replicas": 3, "max_replicas": 2}, "fewer than the fewest"),
        ({"num_replicas": 0}, "at least 1 replica"),
        ({"scaling": {"speed": 1}}, "no setting speed"),
    ],
)
def test_a_placement_that_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Placement(**options)


@pytest.mark.parametrize("maximum", [None, 2])
def test_equal_bounds_are_a_fixed_number(maximum):
    assert Placement(2, max_replicas=maximum).replica_options == {"num_replicas": 2}


def test_what_it_names_can_be_imported():
    functions = serve_config()["grpc_options"]["grpc_servicer_functions"]
    assert len(functions) == len(SERVICES) + 1 and functions[-1] == "services.rpc.health.register"
    assert all(callable(import_path(path)) for path in functions)
    for application in serve_config()["applications"]:
        bound = import_path(application["import_path"])(application["args"])
        assert [bound._bound_deployment.name] == [entry["name"] for entry in application["deployments"]]


def test_an_unknown_service_is_named():
    with pytest.raises(ValueError, match="there is no service voice; the services are vision_encoder"):
        serve_config({"voice": Placement()})


def test_two_releases_have_applications_of_their_own():
    releases = [Release("a", "made/3.1"), Release("b", "made/3.2")]
    config = serve_config({"llm_core": Placement(resources={"llm_core": 1.0})}, releases)
    ServeDeploySchema.model_validate(config)  # it refuses equal names and routes
    second = config["applications"][len(SERVICES) :]
    assert [application["name"] for application in second] == [f"{name}-b" for name in SERVICES]
    assert {application["args"]["checkpoint"] for application in second} == {"made/3.2"}
    assert second[2]["deployments"][0]["ray_actor_options"]["resources"] == {"llm_core": 1.0}


def test_replicas_may_be_kept_apart():
    config = ServeDeploySchema.model_validate(serve_config({"llm_core": Placement(2, max_per_node=1)}))
    limits = {app.name: app.deployments[0].max_replicas_per_node for app in config.applications}
    assert limits.pop("llm_core") == 1 and not any(isinstance(limit, int) for limit in limits.values())


@pytest.mark.parametrize("slots", [["a", "a"], ["c"]])
def test_a_slot_is_known_and_taken_once(slots):
    with pytest.raises(ValueError, match="slot"):
        serve_config(releases=[Release(slot) for slot in slots])
