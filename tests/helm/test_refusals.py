"""Values that cannot work are refused by the chart, in words; values that do not exist, by its schema."""

import helm_python
import pytest

GPU = {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 1}}


def llm(**values) -> dict:
    return {"services": {"llm_core": values}}


REFUSED = [
    (llm(autoscaling={"minReplicas": 5, "maxReplicas": 2}), "autoscaling: minReplicas 5 exceeds maxReplicas 2"),
    (llm(pods={"min": 3, "max": 2}), "llm_core.pods: min 3 exceeds max 2"),
    (llm(replicas=9, pods={"max": 2}), "9 replicas do not fit into 2 pods of 1: raise pods.max"),
    (llm(resources=GPU), "its pod has 1 nvidia.com/gpu and numGpus is 0"),
    (llm(numGpus=1), "numGpus is 1, but its pod has no GPU: set resources.limits.nvidia.com/gpu"),
    (llm(numGpus=2, resources=GPU), "numGpus is 2, but its pod has 1 nvidia.com/gpu: no replica would ever fit"),
    (
        llm(numGpus=1.5, resources={"limits": {"nvidia.com/gpu": 2}}),
        "numGpus is 1.5: above 1, Ray takes whole numbers only",
    ),
    (llm(numGpus=1, resources={**GPU, "limits": {"nvidia.com/gpu": 2}}), "requests and resources.limits differ"),
    (llm(podDisruptionBudget={"minAvailable": 1}), "minAvailable 1 of 1 pods: no node could ever be drained"),
    (llm(terminationGracePeriodSeconds=60), "llm_core.terminationGracePeriodSeconds is 60: a pod that stops must"),
    (llm(objectStoreBytes=1 << 30), "objectStoreBytes 1073741824 do not fit into sharedMemory 128Mi"),
    (llm(settings={"NUM_SLOT": 3}), "settings.NUM_SLOT: there is no such setting; there are .*NUM_SLOTS"),
    (
        llm(autoscaling={"settings": {"max_use": 1}}),
        "autoscaling.settings.max_use: there is no such setting; there are max_",
    ),
    (llm(settings={"CHECKPOINT": "/x"}), "settings.CHECKPOINT is set by the chart itself"),
    (llm(extraEnv=[{"name": "RAY_AUTH_MODE", "value": "x"}]), "llm_core.extraEnv sets RAY_AUTH_MODE, which is set"),
    (llm(extraEnv=[{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]), "llm_core.extraEnv sets X"),
    ({"ray": {"head": {"extraEnv": [{"name": "RAY_REDIS_ADDRESS"}]}}}, "ray.head.extraEnv sets RAY_REDIS_ADDRESS"),
    ({"ray": {"upgradeStrategy": "NewClusterWithIncrementalUpgrade"}}, "HTTP traffic only in an incremental upgrade"),
    ({"ray": {"clusterDeletionDelaySeconds": 60}}, "an old cluster must outlive a turn of 180 s"),
    ({"turnSeconds": 600}, "turnSeconds is 600: a replica that is removed gives its streams 200 s"),
    ({"images": {"services": {"tag": "latest"}}}, 'images.services.tag is "latest"'),
    (llm(image={"tag": "latest"}), 'services.llm_core.image.tag is "latest"'),
    ({"images": {"store": {"tag": "latest"}}}, 'images.store.tag is "latest"'),
    ({"release": {"slot": "c"}}, 'there is no slot "c": the slots are a, b'),
    (
        {"releases": [{"slot": "a", "checkpoint": "/c/1"}, {"slot": "a", "checkpoint": "/c/2"}]},
        'two releases are in the slot "a"',
    ),
    ({"promotion": {"checkpoint": "/c", "back": True}}, "promotion has a checkpoint and is to go back"),
    ({"promotion": {"checkpoint": "c"}}, 'promotion.checkpoint "c" is no path'),
    ({"promotion": {"drainSeconds": 60}}, "promotion.drainSeconds is 60"),
    (
        {"promotion": {"back": True}, "releases": [{"slot": "a", "checkpoint": "/c"}]},
        "promotion and releases are both set",
    ),
    ({"release": {"checkpoint": "checkpoints/nano"}}, 'the checkpoint "checkpoints/nano" of slot a is no path'),
    ({"checkpoints": {"volume": None}}, "lies in the checkpoints' volume, but there is none: set checkpoints.exist"),
    ({"checkpoints": {"existingClaim": "x"}}, "checkpoints has existingClaim and volume: choose one"),
    (
        {"checkpoints": {"volume": None, "claim": {"create": True, "accessMode": "ReadWriteOnce"}}},
        "accessMode is ReadWriteOnce, but the pods of all services mount the volume",
    ),
    (
        {"gateway": {"autoscaling": {"enabled": True, "minReplicas": 4, "maxReplicas": 3}}},
        "gateway.autoscaling: minReplicas 4 exceeds maxReplicas 3",
    ),
    ({"gateway": {"keda": {"enabled": True}}}, "gateway.keda needs serverAddress"),
    (
        {"gateway": {"autoscaling": {"enabled": True}, "keda": {"enabled": True, "serverAddress": "http://p"}}},
        "two scalers would fight over one Deployment",
    ),
    ({"gateway": {"terminationGracePeriodSeconds": 30}}, "gateway.terminationGracePeriodSeconds is 30"),
    ({"gateway": {"settings": {"SERVER_HOSTS": "x"}}}, "gateway.settings.SERVER_HOSTS: there is no such setting"),
    ({"gateway": {"extraEnv": [{"name": "REDIS_URL", "value": "x"}]}}, "gateway.extraEnv sets REDIS_URL"),
    ({"gateway": {"podDisruptionBudget": {"minAvailable": 1}}}, "minAvailable 1 of 1 pods"),
    ({"ingress": {"enabled": True}}, "ingress needs a host"),
    ({"ingress": {"enabled": True, "http": {"host": "x.y"}, "grpc": {"host": "x.y"}}}, "are both x.y"),
    ({"gatewayApi": {"enabled": True}}, "gatewayApi needs parentRefs"),
    ({"sessions": {"maxMemory": "1gb"}}, "sessions.maxMemory 1gb leaves nothing of the limit 1Gi"),
    ({"metrics": {"port": 8265}}, "metrics.port 8265 or the one after it"),
    ({"fullnameOverride": "9lives"}, 'the name "9lives" must begin with a letter'),
    ({"fullnameOverride": "a" * 41}, "at most 40 of them"),
]


@pytest.mark.parametrize("over, message", REFUSED, ids=[message[:50] for _, message in REFUSED])
def test_values_that_cannot_work_are_refused(render, over, message):
    with pytest.raises(helm_python.HelmRenderError, match="These values cannot work") as refused:
        render(over=over)
    assert pytest.RaisesExc(helm_python.HelmRenderError, match=message).matches(refused.value), refused.value


def test_all_that_is_wrong_is_said_at_once(render):
    over = {"release": {"slot": "z"}, "metrics": {"port": 8080}, "services": {"llm_core": {"numGpus": 1}}}
    with pytest.raises(helm_python.HelmRenderError) as refused:
        render(over=over)
    assert all(each in str(refused.value) for each in ("no slot", "metrics.port", "numGpus"))


def test_the_defaults_alone_are_told_what_they_lack(chart):
    with pytest.raises(helm_python.HelmRenderError, match=r"set checkpoints\.existingClaim"):
        chart.render({}, name="demo", namespace="prod", is_install=True)


@pytest.mark.parametrize(
    "over, key",
    [
        ({"service": {}}, "service"),
        ({"services": {"voice": {}}}, "voice"),
        (llm(replica=2), "replica"),
        (llm(replicas=0), "replicas"),
        (llm(replicas="two"), "replicas"),
        (llm(sharedMemory="128MB"), "sharedMemory"),
        (llm(probes={"readiness": {"path": "/"}}), "path"),
        ({"gateway": {"autoscaling": {"targetCPU": 3}}}, "targetCPU"),
        ({"releases": [{"slot": "a"}]}, "checkpoint"),
        ({"releases": [{"slot": slot, "checkpoint": "/c"} for slot in "abc"]}, "releases"),
        ({"ray": {"upgradeStrategy": "Recreate"}}, "upgradeStrategy"),
        ({"networkPolicy": {"operatorFrom": []}}, "operatorFrom"),
    ],
)
def test_the_schema_refuses_what_does_not_exist(render, over, key):
    with pytest.raises(helm_python.HelmValuesError, match=key):
        render(over=over)
