"""Every object that the chart makes, from every preset and from odd values, is one that the API server takes."""

import helm_python
import pytest
import strict
from conftest import CHART, PRESETS, one, preset

EVERYTHING = {
    "commonLabels": {"team": "speech"},
    "images": {"pullSecrets": ["registry"], "services": {"repository": "registry.example.com/parley/services"}},
    "ray": {"autoscaler": {"enabled": True}, "head": {"extraEnv": [{"name": "A", "value": "1"}]}},
    "serviceDefaults": {
        "settings": {"MAX_STREAMS": 512},
        "podAnnotations": {"example.com/note": "yes"},
        "podLabels": {"cost-center": "42"},
        "runtimeClassName": "nvidia",
        "priorityClassName": "serving",
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["l40s"]}]}]
                }
            }
        },
        "extraEnv": [{"name": "NCCL_DEBUG", "value": "WARN"}],
        "extraEnvFrom": [{"secretRef": {"name": "object-store"}}],
        "extraVolumes": [{"name": "cache", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "cache", "mountPath": "/cache"}],
        "initContainers": [{"name": "fetch", "image": "busybox:1.37", "command": ["true"]}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    },
    "services": {"llm_core": {"image": {"repository": "parley-vllm"}, "settings": {"VLLM_ARGUMENTS": '{"seed": 1}'}}},
    "gateway": {
        "autoscaling": {"enabled": True},
        "settings": {"SERVER_MAX_CONNECTIONS": 256, "VAD_END_SECONDS": 0.4},
        "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
        "extraEnv": [{"name": "B", "value": "2"}],
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "http": {"host": "parley.example.com", "tlsSecretName": "parley-tls"},
        "grpc": {
            "host": "grpc.parley.example.com",
            "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"},
        },
    },
    "gatewayApi": {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "gateways"}],
        "http": {"hostnames": ["parley.example.com"]},
    },
    "networkPolicy": {"gatewayFrom": [{"namespaceSelector": {"matchLabels": {"app": "web"}}}]},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podMonitor": {"enabled": True, "ray": True},
        "rules": {"enabled": True},
        "dashboards": {"enabled": True},
    },
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-x"}, "data": {"a": "b"}}
    ],
}
ODD = {
    "nothing": {},
    "everything": EVERYTHING,
    "keda": {
        "gateway": {
            "autoscaling": {"enabled": False},
            "keda": {"enabled": True, "serverAddress": "http://prometheus.monitoring:9090"},
        }
    },
    "stores elsewhere": {
        "sessions": {"external": {"secretName": "redis"}},
        "embeddings": {"external": {"secretName": "redis", "key": "embeddings"}},
        "rayStore": {"external": {"address": "redis.example.com:6379", "secretName": "redis"}},
        "secrets": {"existingSecret": "parley"},
    },
    "no embeddings, no volumes": {
        "embeddings": {"enabled": False},
        "sessions": {"persistence": {"enabled": False}},
        "rayStore": {"persistence": {"enabled": False}},
        "networkPolicy": {"enabled": False},
    },
    "own names": {"fullnameOverride": "p", "serviceAccount": {"create": False}},
    "a claim": {"checkpoints": {"volume": None, "claim": {"create": True, "storageClassName": "nfs"}}},
    "a promotion by a job": {"promotion": {"checkpoint": "/checkpoints/n2"}},
    "two releases": {
        "releases": [{"slot": "a", "checkpoint": "/checkpoints/nano"}, {"slot": "b", "checkpoint": "/checkpoints/n2"}]
    },
    "numbers": {
        "turnSeconds": 90,
        "ray": {"clusterDeletionDelaySeconds": 700},
        "promotion": {"drainSeconds": 700},
        "metrics": {"port": 9464},
    },
}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("over", ODD.values(), ids=list(ODD))
def test_the_api_server_takes_every_object(render, name, over):
    if "checkpoints" in over and name != "nano-cpu":
        over = {"checkpoints": {**over["checkpoints"], "existingClaim": ""}}
    objects = render(name, over)
    assert len(objects) > 12
    for thing in objects:
        strict.check(thing)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names), names


@pytest.mark.parametrize("release, namespace", [("a" * 33, "n" * 63), ("parley", "123")])
def test_names_of_any_length_and_kind(render, release, namespace):
    for thing in render(release=release, namespace=namespace):
        strict.check(thing)
        assert thing["metadata"].get("namespace", namespace) == namespace


@pytest.mark.parametrize("name", PRESETS)
def test_lint_has_nothing_to_say(name):
    report = helm_python.lint(CHART, preset(name), strict=True, kube_version="v1.32.0")
    assert not report["errors"] and not [each for each in report["messages"] if each["severity"] > 1], report


def test_a_strict_check_finds_what_is_wrong(render):
    """Each of these once was a field that nobody read."""
    service = one(render(), "RayService")
    for change in (
        {"serveConfigV3": ""},
        {"rayClusterConfig": {**service["spec"]["rayClusterConfig"], "headGroup": {}}},
        {"upgradeStrategy": {"type": 3}},
    ):
        with pytest.raises(Exception, match=r"serveConfigV3|headGroup|3 is not of type"):
            strict.check({**service, "spec": {**service["spec"], **change}})
    deployment = one(render(), "Deployment")
    with pytest.raises(Exception, match="replica"):
        strict.check({**deployment, "spec": {**deployment["spec"], "replica": 1}})


def test_the_chart_can_be_packed(tmp_path):
    archive = helm_python.package(CHART, destination=tmp_path)
    with helm_python.Chart.load(archive) as chart:
        files = {file["name"] for file in chart.files}
    assert "files/ray.yaml" in files
