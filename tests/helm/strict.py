"""What a strict API server of Kubernetes 1.32 would say of an object, as far as its schemas and rules tell."""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSION = "1.32"
SCHEMAS = "kubernetes-json-schema/v1.32.0-local-strict"

LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")

# Of objects whose custom resource definition is not at hand: the fields that their documentation has.
DOCUMENTED: dict[str, Any] = {
    "ScaledObject": {
        "scaleTargetRef": {"apiVersion": str, "kind": str, "name": str},
        "minReplicaCount": int,
        "maxReplicaCount": int,
        "pollingInterval": int,
        "cooldownPeriod": int,
        "triggers": [{"type": str, "metadata": {"serverAddress": str, "query": str, "threshold": str}}],
    },
    "HTTPRoute": {
        "parentRefs": [{"name": str, "namespace": str, "sectionName": str}],
        "hostnames": [str],
        "rules": [{"backendRefs": [{"name": str, "port": int}], "timeouts": {"request": str}}],
    },
    "GRPCRoute": {
        "parentRefs": [{"name": str, "namespace": str, "sectionName": str}],
        "hostnames": [str],
        "rules": [{"backendRefs": [{"name": str, "port": int}]}],
    },
    "ServiceMonitor": {
        "selector": {"matchLabels": dict},
        "endpoints": [{"port": str, "path": str, "interval": str, "honorLabels": bool}],
    },
    "PodMonitor": {
        "selector": {"matchLabels": dict},
        "podMetricsEndpoints": [{"port": str, "path": str, "interval": str, "honorLabels": bool}],
    },
    "PrometheusRule": {
        "groups": [
            {
                "name": str,
                "interval": str,
                "rules": [
                    {
                        "alert": str,
                        "record": str,
                        "expr": (str, int, float),
                        "for": str,
                        "keep_firing_for": str,
                        "labels": dict,
                        "annotations": dict,
                    }
                ],
            }
        ]
    },
}


def check(thing: dict) -> None:
    """Raises an exception that says what the API server would refuse."""
    kind = thing["kind"]
    if kind == "RayService":
        rayservice_validator().validate(thing)
    elif kind in DOCUMENTED:
        assert set(thing) == {"apiVersion", "kind", "metadata", "spec"}, set(thing)
        documented(thing["spec"], DOCUMENTED[kind], kind)
    else:
        validator(kind, thing["apiVersion"]).validate(thing)
    check_metadata(thing["metadata"])
    for path, spec in pods(thing):
        check_pod(spec, f"{kind} {thing['metadata']['name']} {path}")


@functools.cache
def rayservice_validator() -> Draft202012Validator:
    return Draft202012Validator(closed(json.loads((FIXTURES / "kuberay" / "rayservice.v1.json").read_text())))


@functools.cache
def definitions() -> Resource:
    return Resource.from_contents(schema_contents(f"{SCHEMAS}/_definitions.json", VERSION))


@functools.cache
def validator(kind: str, api_version: str) -> Draft202012Validator:
    """What `kubernetes-validate --strict` applies, read once: it reads all definitions anew for each object."""
    group, _, version = api_version.rpartition("/")
    name = "-".join(filter(None, [kind.lower(), group.partition(".")[0], version]))
    schema = Resource.from_contents(schema_contents(f"{SCHEMAS}/{name}.json", VERSION))
    return Draft202012Validator(schema.contents, registry=schema @ (definitions() @ Registry()))


def closed(schema: Any) -> Any:
    """A custom resource's schema as the strict API server applies it: fields that it does not have are refused."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and not open_ended:
        result["additionalProperties"] = False
    if "apiVersion" in result.get("properties", {}) and "metadata" in result["properties"]:
        result["properties"]["metadata"] = {"type": "object"}  # its fields are Kubernetes' own
    return result


def documented(value: Any, form: Any, where: str) -> None:
    match form:
        case list():
            assert isinstance(value, list) and value, where
            for each in value:
                documented(each, form[0], where)
        case dict():
            assert set(value) <= set(form), f"{where} has no {set(value) - set(form)}"
            for key, each in value.items():
                documented(each, form[key], f"{where}.{key}")
        case _:
            assert isinstance(value, form), f"{where} is {value!r}"


def check_metadata(metadata: dict) -> None:
    assert DNS_NAME.fullmatch(metadata["name"]) and len(metadata["name"]) <= 63, metadata["name"]
    check_labels(metadata.get("labels", {}))
    for key, value in metadata.get("annotations", {}).items():
        assert LABEL_KEY.fullmatch(key) and isinstance(value, str), (key, value)


def check_labels(labels: dict) -> None:
    for key, value in labels.items():
        assert LABEL_KEY.fullmatch(key) and len(key.rpartition("/")[2]) <= 63, key
        assert isinstance(value, str) and len(value) <= 63 and LABEL_VALUE.fullmatch(value), (key, value)


def pods(thing: dict) -> Iterator[tuple[str, dict]]:
    """Every pod's spec within an object, and the labels of its template."""
    if thing["kind"] == "Pod":
        yield "", {"metadata": thing["metadata"], "spec": thing["spec"]}
    elif thing["kind"] == "RayService":
        cluster = thing["spec"]["rayClusterConfig"]
        yield "head", cluster["headGroupSpec"]["template"]
        for group in cluster["workerGroupSpecs"]:
            yield group["groupName"], group["template"]
    elif "template" in thing.get("spec", {}):
        yield "", thing["spec"]["template"]


def check_pod(template: dict, where: str) -> None:
    spec = template["spec"]
    check_labels(template["metadata"].get("labels", {}))
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    assert len(set(volumes)) == len(volumes), f"{where}: volumes {volumes}"
    for container in spec["containers"] + spec.get("initContainers", []):
        check_container(container, volumes, f"{where} {container['name']}")


def check_container(container: dict, volumes: list[str], where: str) -> None:
    variables = [variable["name"] for variable in container.get("env", [])]
    assert len(set(variables)) == len(variables), f"{where}: variables {sorted(variables)}"
    assert all(isinstance(variable.get("value", ""), str) for variable in container.get("env", [])), where
    claimed = {"data"}  # of a StatefulSet's claim
    mounts = container.get("volumeMounts", [])
    assert {mount["name"] for mount in mounts} <= set(volumes) | claimed, where
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts), where
    ports = [port["name"] for port in container.get("ports", [])]
    assert len(set(ports)) == len(ports), where
    assert all(len(name) <= 15 and PORT_NAME.fullmatch(name) for name in ports), f"{where}: ports {ports}"
    for amounts in container.get("resources", {}).values():
        assert all(QUANTITY.fullmatch(str(amount)) for amount in amounts.values()), f"{where}: {amounts}"
