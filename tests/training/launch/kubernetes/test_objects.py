"""The objects of a run against the schemas of Kubernetes 1.32 and the client's own models."""

import json

import kubernetes_validate
import pytest
from kubernetes import client

from training.launch.kubernetes.objects import MISTAKE, jobset, launcher_objects, nodes_of, stage_objects
from training.launch.kubernetes.settings import GRACE_SECONDS, LaunchSettings, check_steps, stages_between
from training.launch.pod import SHUTDOWN_SECONDS
from training.launch.stage_job import StageJob
from training.recipe import find_stage

EVERYTHING = {
    "nodes": 4,
    "gpus_per_node": 2,
    "data": "photos",
    "node_selector": {"gpu": "h100"},
    "tolerations": ("nvidia.com/gpu", "team=speech:NoSchedule"),
    "priority_class": "high",
    "queue": "gpus",
    "environment": {"NCCL_SOCKET_IFNAME": "eth0"},
    "secret": "store",
    "service_account": "trainer",
    "steps": 20,
}
MODELS = {
    "Job": client.V1Job,
    "Service": client.V1Service,
    "ServiceAccount": client.V1ServiceAccount,
    "Role": client.V1Role,
    "RoleBinding": client.V1RoleBinding,
}


@pytest.mark.parametrize("changes", [{}, EVERYTHING, {"checkpoints": "s3://bucket/runs"}])
def test_every_object_is_one_of_kubernetes_1_32(settings, changes):
    made = settings(**changes)
    objects = launcher_objects(made) + [each for stage in made.stages for each in stage_objects(made, stage)]
    assert [each["kind"] for each in objects[-2:]] == ["Service", "Job"]
    for each in objects:
        kubernetes_validate.validate(each, "1.32", strict=True)
        MODELS[each["kind"]].from_dict(each)


def container(job):
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return only


def test_the_pods_of_a_stage_find_each_other(settings):
    service, job = stage_objects(settings(nodes=2), "0.2")
    pod = job["spec"]["template"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    told = StageJob.model_validate_json(container(job)["command"][-1])
    assert told.endpoint == f"{job['metadata']['name']}-0.{service['metadata']['name']}:29500"
    assert (job["spec"]["completions"], job["spec"]["parallelism"], told.nodes) == (2, 2, 2)


def test_a_mistake_ends_the_job_and_a_preemption_does_not_count(settings):
    _, job = stage_objects(settings(), "0.1")
    fail, ignore = job["spec"]["podFailurePolicy"]["rules"]
    assert (fail["action"], fail["onExitCodes"]["values"]) == ("FailJob", [MISTAKE])
    assert fail["onExitCodes"]["containerName"] == container(job)["name"]
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_a_pod_has_time_to_save_and_no_rights(settings):
    _, job = stage_objects(settings(), "0.1")
    pod = job["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == GRACE_SECONDS > SHUTDOWN_SECONDS
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    security = container(job)["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}
    shm = next(volume for volume in pod["volumes"] if volume["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}


def test_what_a_user_asks_for_is_there(settings):
    _, job = stage_objects(settings(**EVERYTHING), "0.2")
    pod = job["spec"]["template"]["spec"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus" and job["spec"]["suspend"]
    assert container(job)["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert pod["tolerations"] == [
        {"operator": "Exists", "key": "nvidia.com/gpu"},
        {"operator": "Equal", "key": "team", "value": "speech", "effect": "NoSchedule"},
    ]
    assert {"name": "NCCL_SOCKET_IFNAME", "value": "eth0"} in container(job)["env"]
    assert container(job)["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert (pod["priorityClassName"], pod["nodeSelector"]) == ("high", {"gpu": "h100"})


def test_an_object_store_takes_the_place_of_the_volume(settings):
    _, job = stage_objects(settings(checkpoints="s3://bucket/runs/"), "0.1")
    assert StageJob.model_validate_json(container(job)["command"][-1]).store == "s3://bucket/runs/run"
    volumes = job["spec"]["template"]["spec"]["volumes"]
    assert volumes[0] == {"name": "runs", "emptyDir": {}}


def test_stages_over_the_users_data_start_from_one_another(settings):
    made = settings(
        preset="vita-7b", stages=("1.3", "2.1a", "2.1b"), start="/data/base", records="/data/mix.yaml", nodes=2
    )
    check_steps(made)  # it may be started
    told = [
        StageJob.model_validate_json(container(stage_objects(made, name)[1])["command"][-1]) for name in made.stages
    ]
    assert [str(job.start) for job in told] == ["/data/base", "/runs/run/1.3", "/runs/run/2.1a"]
    assert {(str(job.records), job.nodes) for job in told} == {("/data/mix.yaml", 2)}


def test_a_stage_that_cannot_be_shared_has_one_pod(settings):
    wanted = settings(nodes=9, stages=("3.1",))
    assert nodes_of(wanted, find_stage("3.1")) == (1, 1)  # a step has eight samples
    assert nodes_of(wanted, find_stage("0.1")) == (9, 1)


def test_a_jobset_runs_the_stages_one_after_the_other(settings):
    made = jobset(settings(stages=("0.1", "0.2", "1.1"), nodes=2))
    stages = made["spec"]["replicatedJobs"]
    assert [each.get("dependsOn") for each in stages] == [
        None,
        [{"name": "s0-1", "status": "Complete"}],
        [{"name": "s0-2", "status": "Complete"}],
    ]
    for each in stages:  # its Jobs are Jobs
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": each["template"]["spec"]}
        kubernetes_validate.validate(job, "1.32", strict=True)
    told = StageJob.model_validate_json(container({"spec": stages[1]["template"]["spec"]})["command"][-1])
    assert told.endpoint == "run-s0-2-0-0.run:29500"


def test_the_launcher_is_told_everything(settings):
    made = settings(**EVERYTHING)
    *_, job = launcher_objects(made)
    assert LaunchSettings.model_validate(json.loads(container(job)["command"][-1])) == made


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.2", ("0.2",)), ("1.2-2.1a", ("1.2", "1.3", "2.1a")), ("all", None)],
)
def test_stages_are_named_by_a_range(text, expected):
    found = stages_between("nano", text)
    assert found == expected or (expected is None and (found[0], found[-1]) == ("0.1", "3.2"))


@pytest.mark.parametrize(
    ("preset", "text", "message"),
    [
        ("nano", "9.9", "has no stage '9.9'; its stages are 0.1, 0.2"),
        ("vita-7b", "0.1-1.1", "vita-7b has no stage '0.1'"),
        ("nano", "2.2-1.1", "stage 2.2 comes after 1.1; write 1.1-2.2"),
    ],
)
def test_a_range_that_cannot_be_is_refused(preset, text, message):
    with pytest.raises(ValueError, match=message):
        stages_between(preset, text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "My_Run"}, "cannot name a run"),
        ({"tolerations": ("a=b:Never",)}, "is no taint"),
        ({"start": "/runs/x"}, "in one stage: name it with --stages"),
        ({"nodes": 17}, "stage 0.1 cannot be shared by 17 processes: its batch is 16"),
        ({"preset": "nano9"}, "nano9"),
        ({"records": "/data/r.json"}, "name the checkpoint to start from"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)
