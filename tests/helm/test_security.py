"""Who may do what: users, capabilities, accounts, secrets, and which pod reaches which."""

import re

import pytest
import strict
from conftest import PRESETS, of_kind, one

from services.gateway.access import exposure
from services.gateway.settings import GatewaySettings


def templates(objects) -> list[dict]:
    return [template for thing in objects for _, template in strict.pods(thing)]


@pytest.mark.parametrize("name", PRESETS)
def test_every_container_is_a_plain_user_with_a_read_only_root(render, name):
    objects = render(name, {"promotion": {"back": True}})
    found = templates(objects)
    assert len(found) == 11  # head, four services, gateway, three stores, the promotion's, the test's
    for template in found:
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]}
            assert context["allowPrivilegeEscalation"] is False
            assert container["resources"]["limits"]["memory"], "everything is bounded"


def test_only_the_head_speaks_to_the_api_server_and_only_to_scale(render):
    for scales in (False, True):
        objects = render(over={"ray": {"autoscaler": {"enabled": scales}}})
        accounts = [each["spec"]["automountServiceAccountToken"] for each in templates(objects)]
        assert accounts.count(True) == int(scales)
        assert len(of_kind(objects, "Role")) == int(scales)
    verbs = {verb for rule in one(objects, "Role")["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch", "patch"}
    head = one(objects, "RayService")["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    subject = one(objects, "RoleBinding")["subjects"][0]["name"]
    assert head["serviceAccountName"] == subject == one(objects, "ServiceAccount", "-head")["metadata"]["name"]


def test_secrets_are_made_once_and_named_everywhere(render):
    objects = render()
    secret = one(objects, "Secret")
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert all(re.fullmatch(r"[A-Za-z0-9+/=]{40,}", value) for value in secret["data"].values())
    assert len(set(secret["data"].values())) == len(secret["data"])
    assert references(objects) == {(secret["metadata"]["name"], key) for key in secret["data"]} - {
        (secret["metadata"]["name"], "auth_token")  # KubeRay reads it by this name
    }
    cluster = one(objects, "RayService")["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": secret["metadata"]["name"]}


def references(thing) -> set[tuple[str, str]]:
    """Secret and key of every reference within an object."""
    if isinstance(thing, list):
        return set().union(*map(references, thing)) if thing else set()
    if not isinstance(thing, dict):
        return set()
    found = {(each["name"], each["key"]) for key, each in thing.items() if key == "secretKeyRef"}
    return found.union(*map(references, thing.values())) if thing else found


def test_secrets_of_ones_own_are_used_alone(render):
    over = {
        "secrets": {"existingSecret": "mine", "serviceTokenKey": "tok"},
        "sessions": {"external": {"secretName": "redis"}},
        "embeddings": {"enabled": False},
        "rayStore": {"external": {"address": "redis:6379", "secretName": "redis"}},
    }
    objects = render(over=over)
    assert not of_kind(objects, "Secret") and not of_kind(objects, "StatefulSet")
    assert references(objects) == {("mine", "tok"), ("redis", "url"), ("redis", "password")}


def matches(policy: dict, labels: dict) -> bool:
    return policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def allowed(objects, source: dict, target: dict, port: int) -> bool:
    """Whether a pod with some labels may connect to another, by the policies of this release's own pods."""
    policies = [policy for policy in of_kind(objects, "NetworkPolicy") if matches(policy, target)]
    assert policies, "a pod that no policy selects is open to all"
    for rule in (rule for policy in policies for rule in policy["spec"]["ingress"]):
        ports = [each["port"] for each in rule.get("ports", [{"port": port}])]
        peers = [
            peer["podSelector"]["matchLabels"].items() <= source.items()
            for peer in rule.get("from", [{"podSelector": {"matchLabels": {}}}])
        ]
        if port in ports and any(peers):
            return True
    return False


def test_only_those_connect_who_must(render):
    objects = render(over={"promotion": {"back": True}})
    pods = {}
    for template in templates(objects):
        labels = template["metadata"]["labels"]
        pods[labels.get("app.kubernetes.io/component", "ask")] = labels
    services = ("vision-encoder", "speech-encoder", "llm-core", "speech-decoder")
    reach = {
        ("gateway", 50051): {*pods},
        ("sessions", 6379): {"gateway", "promote"},
        ("embeddings", 6379): {"gateway"},
        ("ray-store", 6379): {"head", *services},
        **{(service, 9000): {"gateway", "promote", "head", *services} for service in services},
        **{(service, 10002): {"head", *services} for service in services},
        ("head", 8265): {"promote", "head", *services},
    }
    for (target, port), sources in reach.items():
        found = {name for name, labels in pods.items() if allowed(objects, labels, pods[target], port)}
        assert found == sources, (target, port)
    assert allowed(objects, {"app.kubernetes.io/name": "kuberay-operator"}, pods["head"], 8265)
    assert not allowed(objects, {"app.kubernetes.io/name": "kuberay-operator"}, pods["llm-core"], 9000)
    assert allowed(objects, {"app.kubernetes.io/name": "prometheus"}, pods["llm-core"], 9400)


def test_selectors_find_their_pods_and_no_others(render):
    objects = render(over={"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}})
    pods = [template["metadata"]["labels"] for template in templates(objects)]
    for kind, count in {"Service": 1, "PodDisruptionBudget": 1, "Deployment": 1, "StatefulSet": 1}.items():
        for thing in of_kind(objects, kind):
            selector = thing["spec"]["selector"]
            wanted = selector.get("matchLabels", selector).items()
            assert sum(wanted <= labels.items() for labels in pods) == count, thing["metadata"]["name"]
    monitor = one(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    services = [each["metadata"]["name"] for each in of_kind(objects, "Service")]
    assert [name for name in services if monitor <= one(objects, "Service", name)["metadata"]["labels"].items()] == [
        "demo-parley-gateway"
    ]


@pytest.mark.parametrize(
    ("over", "keys"),
    [
        ({}, "auto"),
        ({"ingress": {"enabled": True, "http": {"host": "parley.example"}}}, "required"),
        ({"gatewayApi": {"enabled": True, "parentRefs": [{"name": "shared"}]}}, "required"),
        ({"gateway": {"service": {"type": "LoadBalancer"}}}, "required"),
        ({"gateway": {"service": {"type": "LoadBalancer"}, "access": {"keys": "off"}}}, "off"),
        ({"gateway": {"access": {"keys": "required"}}}, "required"),
    ],
)
def test_who_comes_from_outside_of_the_cluster_needs_a_key_unless_told_otherwise(render, over, keys, monkeypatch):
    variables = gateway_variables(render(over=over))
    assert variables["PARLEY_GATEWAY_ACCESS_KEYS"] == keys
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = GatewaySettings()
    exposure.check(settings.server, settings.access)


def gateway_variables(objects) -> dict[str, str]:
    (container,) = one(objects, "Deployment", "-gateway")["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"] if each["name"].startswith("PARLEY_GATEWAY")}


def test_pages_and_the_key_of_helm_test_are_named(render):
    access = {"origins": ["https://a.example", "https://b.example"], "clientKey": {"secretName": "mine"}}
    objects = render(over={"gateway": {"access": access}})
    assert gateway_variables(objects)["PARLEY_GATEWAY_ACCESS_ORIGINS"] == "https://a.example,https://b.example"
    (asking,) = one(objects, "Pod", "-ask")["spec"]["containers"]
    reference = {"secretKeyRef": {"name": "mine", "key": "api-key"}}
    assert asking["env"] == [{"name": "PARLEY_API_KEY", "valueFrom": reference}]
