"""The Ray cluster: the Serve config is that of the code, Ray's own autoscaler understands the groups, pods drain."""

import pytest
import yaml
from conftest import PRESETS, one
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.common_pb2 import LabelSelectorOperator
from ray.scripts import scripts
from ray.serve.schema import ServeDeploySchema

from services.ray.environment import CONTAINER_ENVIRONMENT, NODE_ENVIRONMENT
from services.ray.node_replicas import main
from services.ray.serve_config import NODE_LABEL, SLOTS, Placement, Release, application_name, serve_config
from services.registry import SERVICES

CPU = {name: Placement(resources={name: 1}, max_per_node=1) for name in SERVICES}
HALF = {name: Placement(num_gpus=0.5, max_per_node=1) for name in SERVICES}
POOLS = {
    "vision_encoder": Placement(2, num_gpus=1, max_replicas=8),
    "speech_encoder": Placement(2, num_gpus=1, max_replicas=16),
    "llm_core": Placement(2, num_gpus=1, max_replicas=32),
    "speech_decoder": Placement(2, num_gpus=1, max_replicas=24),
}
SCALES = {
    "ray": {"autoscaler": {"enabled": True}},
    "services": {"speech_decoder": {"autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 3}}},
}


def served(objects) -> dict:
    return yaml.safe_load(one(objects, "RayService")["spec"]["serveConfigV2"])


def cluster_of(objects) -> dict:
    return one(objects, "RayService")["spec"]["rayClusterConfig"]


def group_of(objects, service: str) -> dict:
    groups = {group["groupName"]: group for group in cluster_of(objects)["workerGroupSpecs"]}
    return groups[service.replace("_", "-")]


def worker_of(objects, service: str) -> dict:
    (container,) = group_of(objects, service)["template"]["spec"]["containers"]
    return container


def test_a_service_may_have_an_image_of_its_own(render):
    images = {"services": {"repository": "r/services", "tag": "1", "pullPolicy": "Always"}}
    own = {"repository": "r/vllm", "pullPolicy": "Never"}
    objects = render("nano-cpu", {"images": images, "services": {"llm_core": {"image": own}}})
    found = {name: worker_of(objects, name) for name in SERVICES}
    assert {(each["image"], each["imagePullPolicy"]) for name, each in found.items() if name != "llm_core"} == {
        ("r/services:1", "Always")
    }
    assert (found["llm_core"]["image"], found["llm_core"]["imagePullPolicy"]) == ("r/vllm:1", "Never")


@pytest.mark.parametrize(
    "name, over, placements, releases",
    [
        ("nano-cpu", {}, CPU, [Release("a", "/checkpoints/nano")]),
        ("one-gpu-node", {}, HALF, [Release("a", "/checkpoints/vita-7b")]),
        (
            "nano-cpu",
            {"services": {"llm_core": {"replicas": 3}}, "release": {"slot": "b", "checkpoint": "/checkpoints/2"}},
            {**CPU, "llm_core": Placement(num_replicas=3, resources={"llm_core": 1}, max_per_node=1)},
            [Release("b", "/checkpoints/2")],
        ),
        ("node-pools", {}, POOLS, [Release("a", "/checkpoints/vita-7b")]),
        (
            "node-pools",
            {
                "services": {
                    "llm_core": {"autoscaling": {"settings": {"max_utilization": 0.9, "up_seconds": 5}}},
                    "speech_encoder": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}},
                }
            },
            {
                **POOLS,
                "llm_core": Placement(2, 1, max_replicas=32, scaling={"max_utilization": 0.9, "up_seconds": 5}),
                "speech_encoder": Placement(2, 1),
            },
            [Release("a", "/checkpoints/vita-7b")],
        ),
        (
            "one-gpu-node",
            {"releases": [{"slot": "a", "checkpoint": "/c/1"}, {"slot": "b", "checkpoint": "/c/2"}]},
            HALF,
            [Release("a", "/c/1"), Release("b", "/c/2")],
        ),
    ],
)
def test_the_serve_config_is_that_of_the_code(render, name, over, placements, releases):
    assert served(render(name, over)) == serve_config(placements, releases)


@pytest.mark.parametrize("name", PRESETS)
def test_serve_takes_the_config(render, name):
    config = ServeDeploySchema.model_validate(served(render(name)))
    assert [application.name for application in config.applications] == list(SERVICES)


def test_the_environment_is_that_of_every_node(render):
    objects = render()
    head = cluster_of(objects)["headGroupSpec"]["template"]["spec"]["containers"][0]
    for container in [head, *(worker_of(objects, name) for name in SERVICES)]:
        variables = {each["name"]: each.get("value") for each in container["env"]}
        assert NODE_ENVIRONMENT.items() <= variables.items()
        assert {*CONTAINER_ENVIRONMENT} - {*variables} == {"RAY_AUTH_TOKEN_PATH"}  # KubeRay gives RAY_AUTH_TOKEN


@pytest.mark.parametrize("name", PRESETS)
def test_a_replica_fits_into_a_pod_of_its_service_and_into_no_other(render, name):
    """What Ray's autoscaler derives from the RayCluster: it adds a pod of a group for what fits there only."""
    objects = render(name)
    cluster = {"metadata": {"name": "demo", "namespace": "prod"}, "spec": cluster_of(objects)}
    nodes = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert set(nodes) == {"headgroup", *(service.replace("_", "-") for service in SERVICES)}
    for application in served(objects)["applications"]:
        options = application["deployments"][0]["ray_actor_options"]
        wanted = {"GPU": options.get("num_gpus", 0), **options.get("resources", {})}
        assert sum(wanted.values()) > 0, "a replica that asks for nothing fits into one pod for ever"
        fitting = [
            group
            for group, node in nodes.items()
            if options["label_selector"].items() <= node["labels"].items()
            and all(node["resources"].get(key, 0) >= amount for key, amount in wanted.items())
        ]
        assert fitting == [application["deployments"][0]["name"].replace("_", "-")]


@pytest.mark.parametrize(
    "name, over, service",
    [("node-pools", {}, "llm_core"), ("nano-cpu", SCALES, "speech_decoder")],
)
def test_rays_autoscaler_adds_a_pod_of_the_service_that_needs_one(render, name, over, service):
    """Its real scheduler, asked for one replica more than fits into the least pods."""
    objects = render(name, over)
    cluster = {"metadata": {"name": "demo", "namespace": "prod"}, "spec": cluster_of(objects)}
    derived = AutoscalingConfig(_derive_autoscaling_config_from_ray_cr(cluster), skip_content_hash=True)
    least = {group["groupName"]: group["minReplicas"] for group in cluster["spec"]["workerGroupSpecs"]}
    group = service.replace("_", "-")
    room = float(group_of(objects, service)["resources"].get(service, 1))  # places in a pod
    options = next(
        application["deployments"][0]["ray_actor_options"]
        for application in served(objects)["applications"]
        if application["name"] == service
    )
    wanted = {"GPU": options.get("num_gpus", 0.0), **options.get("resources", {})}
    count = int(least[group] * room) + 1
    for taken, added in ((wanted, 1), ({}, 0)):  # one that takes nothing fits into one pod for ever
        taken = {key: amount for key, amount in taken.items() if amount}
        selector = [(NODE_LABEL, LabelSelectorOperator.LABEL_OPERATOR_IN, [service])]
        requests = [ResourceRequestUtil.make(taken, label_selectors=[selector])] * count
        reply = ResourceDemandScheduler().schedule(
            SchedulingRequest(
                disable_launch_config_check=True,
                node_type_configs=derived.get_node_type_configs(),
                max_num_nodes=derived.get_max_num_worker_nodes(),
                resource_requests=ResourceRequestUtil.group_by_count(requests),
            )
        )
        launched = {each.instance_type: each.count for each in reply.to_launch}
        assert launched == {**least, group: least[group] + added} and not reply.infeasible_resource_requests


@pytest.mark.parametrize(
    "over, pods",
    [
        ({}, (1, 1)),
        ({"replicas": 3}, (3, 3)),  # one of a release in each
        ({"replicas": 3, "maxReplicasPerPod": 0}, (2, 2)),  # two fit into a pod
        ({"replicas": 3, "pods": {"max": 5}}, (5, 5)),
    ],
)
def test_there_are_pods_for_all_replicas(render, over, pods):
    group = group_of(render(over={"services": {"llm_core": over}}), "llm_core")
    assert (group["minReplicas"], group["maxReplicas"]) == pods and group["replicas"] == pods[0]


def test_where_ray_adds_pods_a_promotion_finds_room(render):
    for room, pods in ((1, (3, 6)), (2, (3, 3))):  # in pods of their own, or beside the others
        llm_core = {"replicas": 3, "replicasPerPod": room}
        over = {"ray": {"autoscaler": {"enabled": True}}, "services": {"llm_core": llm_core}}
        group = group_of(render(over=over), "llm_core")
        assert (group["minReplicas"], group["maxReplicas"]) == pods
    options = cluster_of(render(over=over))["autoscalerOptions"]
    assert options["version"] == "v2", "label selectors need it"


def test_gpus_are_counted_by_share(render):
    over = {
        "services": {
            "llm_core": {
                "numGpus": 0.3,
                "maxReplicasPerPod": 0,
                "replicas": 7,
                "resources": {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 1}},
            }
        }
    }
    group = group_of(render(over=over), "llm_core")
    assert group["maxReplicas"] == 3 and group["resources"] == {"CPU": "0", "GPU": "1"}


def test_labels_place_replicas(render):
    objects = render()
    assert cluster_of(objects)["headGroupSpec"]["labels"] == {NODE_LABEL: "head"}
    assert [group_of(objects, name)["labels"] for name in SERVICES] == [{NODE_LABEL: name} for name in SERVICES]


def test_kuberay_can_use_what_it_is_given(render):
    """Rules of the operator that no schema has."""
    objects = render("node-pools")
    service = one(objects, "RayService")
    cluster = cluster_of(objects)
    assert len(service["metadata"]["name"]) <= 47
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert not {"num-cpus", "num-gpus", "memory", "resources", "labels"} & set(group["rayStartParams"])
        template = group["template"]
        assert "restartPolicy" not in template["spec"], "autoscaler v2 wants Never, which it sets"
        # On the head's pod its Service selects by these.
        assert not {"app.kubernetes.io/name", "app.kubernetes.io/created-by"} & set(template["metadata"]["labels"])
        names = [variable["name"] for variable in template["spec"]["containers"][0]["env"]]
        assert not {"RAY_AUTH_TOKEN", "RAY_ADDRESS", "RAY_REDIS_ADDRESS", "REDIS_PASSWORD"} & set(names)
    assert "externalStorageNamespace" not in cluster["gcsFaultToleranceOptions"], "two clusters would share it"
    ports = {port["name"] for port in cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]}
    assert {"serve", "serve-grpc", "metrics", "dashboard", "gcs-server"} <= ports
    assert {port["name"] for port in service["spec"]["serveService"]["spec"]["ports"]} <= ports


def test_ray_start_takes_the_parameters(render):
    """As KubeRay writes them: `--name=value`, and `--name` for true."""
    cluster = cluster_of(render())
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        given = group["rayStartParams"].items()
        flags = [f"--{name}" if value == "true" else f"--{name}={value}" for name, value in given]
        scripts.cli.commands["start"].make_context("start", [*flags, "--num-cpus=0"])


def test_gateways_reach_every_proxy_and_not_the_head(render):
    objects = render()
    service = one(objects, "RayService")["spec"]
    assert service["excludeHeadPodFromServeSvc"] is True
    assert service["serveService"]["spec"]["clusterIP"] == "None"
    container = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["PARLEY_SERVICES"] == f"{service['serveService']['metadata']['name']}:9000"


def test_a_pod_that_stops_waits_for_its_turns(render):
    objects = render(over={"turnSeconds": 200})
    for name in SERVICES:
        spec = group_of(objects, name)["template"]["spec"]
        command = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:3] == ["python", "-m", main.__module__]
        assert command[3] == "drain" and 200 <= int(command[4]) < spec["terminationGracePeriodSeconds"] == 230
    gateway = one(objects, "Deployment")["spec"]["template"]["spec"]
    variables = {each["name"]: each.get("value") for each in gateway["containers"][0]["env"]}
    assert 200 <= int(variables["PARLEY_GATEWAY_SERVER_DRAIN_SECONDS"]) < gateway["terminationGracePeriodSeconds"]
    assert variables["PARLEY_GATEWAY_CONVERSATION_MAX_TURN_SECONDS"] == "200"


def test_no_probe_needs_a_shell(render):
    for name in SERVICES:
        container = worker_of(render(), name)
        assert container["livenessProbe"]["httpGet"] == {"path": "/api/healthz", "port": 52365}
        assert container["readinessProbe"]["exec"]["command"] == ["python", "-m", main.__module__, "ready"]
        start = container["startupProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] >= 600, "a slow start is not killed"


def test_settings_go_to_their_service(render):
    objects = render(over={"services": {"llm_core": {"settings": {"MAX_STREAMS": 512}}}})
    names = {name: [each["name"] for each in worker_of(objects, name)["env"]] for name in SERVICES}
    assert [name for name in SERVICES if f"PARLEY_{name.upper()}_MAX_STREAMS" in names[name]] == ["llm_core"]


def test_a_promotion_changes_nothing_but_the_serve_config(render):
    """Anything below `rayClusterConfig` would start a second cluster."""
    before = one(render(), "RayService")["spec"]
    two = [{"slot": slot, "checkpoint": f"/checkpoints/{slot}"} for slot in SLOTS]
    during = one(render(over={"releases": two}), "RayService")["spec"]
    after = one(render(over={"release": two[1]}), "RayService")["spec"]
    for spec in (during, after):
        assert {key for key in spec if spec[key] != before[key]} == {"serveConfigV2"}
    names = [application["name"] for application in yaml.safe_load(during["serveConfigV2"])["applications"]]
    assert names == [application_name(service, slot) for slot in SLOTS for service in SERVICES]
