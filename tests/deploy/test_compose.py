"""The compose files: what they say, and, where an engine answers, that it takes them and builds the gateway's image."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from services.gateway.access import exposure
from services.gateway.settings import GatewaySettings
from services.ray.serve_config import GRPC_PORT, NODE_LABEL
from services.registry import SERVICES

ROOT = Path(__file__).parents[2]
FILES = sorted(ROOT.glob("docker-compose*.yml"))
BASE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CONTAINERS = BASE["services"]
SECRET = "not-for-any-file"


def container(service: str) -> str:
    """The container of a service."""
    return service.replace("_", "-")


def docker(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = ["docker", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=250, env={**os.environ, **environment}
    )


def answers(*command: str) -> bool:
    try:
        return docker(*command).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


needs_compose = pytest.mark.skipif(not answers("compose", "version"), reason="there is no docker compose here")
needs_engine = pytest.mark.skipif(not answers("info"), reason="no engine answers here")


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_a_node_with_its_label_and_its_own_health(service):
    found = CONTAINERS[container(service)]
    command = shlex.split(found["command"])
    assert command[:2] == ["ray", "start"] and command[command.index("--labels") + 1] == f"{NODE_LABEL}={service}"
    assert found["healthcheck"]["test"] == ["CMD", "python", "-m", "services.ray.probe", service]
    assert found["env_file"] == ["deploy/compose/ray.env"]


def gateway_settings(monkeypatch, **variables: str) -> GatewaySettings:
    """As the container has them where these variables are set for `docker compose`."""
    for name, value in CONTAINERS["gateway"]["environment"].items():
        filled = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), value)
        monkeypatch.setenv(name, filled)
    return GatewaySettings()


def test_a_gateway_that_is_published_elsewhere_wants_tls_unless_told_otherwise(monkeypatch):
    settings = gateway_settings(monkeypatch)
    assert settings.server.host == "0.0.0.0" and not exposure.is_exposed(settings.server)
    settings = gateway_settings(monkeypatch, PARLEY_HOST="0.0.0.0")
    with pytest.raises(ValueError, match="without TLS"):
        exposure.check(settings.server, settings.access)
    settings = gateway_settings(monkeypatch, PARLEY_HOST="0.0.0.0", PARLEY_INSECURE="true")
    exposure.check(settings.server, settings.access)


def test_the_gateway_is_at_the_proxies_of_the_services(monkeypatch):
    settings = gateway_settings(monkeypatch)
    for service in SERVICES:
        assert settings.upstream.addresses_of(service) == [f"{container(service)}:{GRPC_PORT}"]
    assert settings.store.redis_url == "redis://sessions:6379/0"
    assert settings.store.embeddings_url == "redis://embeddings:6379/0"


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_of_ours_is_bounded_and_has_no_rights(name):
    found = CONTAINERS[name]
    assert found["read_only"] is True and found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["mem_limit"] and found["logging"]["options"]["max-size"]
    one_shot = found["restart"] == "no"
    assert one_shot or (found["restart"] == "unless-stopped" and found["pids_limit"])


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_starts_after_those_that_it_needs_are_healthy(name):
    for other, how in CONTAINERS[name].get("depends_on", {}).items():
        needed = CONTAINERS[other]
        wanted = "service_completed_successfully" if needed["restart"] == "no" else "service_healthy"
        starts_with = name == "deploy" and other in map(container, SERVICES)  # they are healthy once it has deployed
        assert how["condition"] == ("service_started" if starts_with else wanted)
        assert wanted != "service_healthy" or needed["healthcheck"]["test"]


def test_checkpoints_are_mounted_for_reading_only():
    for name in map(container, SERVICES):
        mounted = [volume.split(":")[-2:] for volume in CONTAINERS[name]["volumes"]]
        assert ["/checkpoints", "ro"] in [[at.rpartition("}")[2] or at, mode] for at, mode in mounted]


def test_only_the_gateway_is_published_and_by_default_on_this_machine_alone():
    published = {name: found["ports"] for name, found in CONTAINERS.items() if "ports" in found}
    assert all(port.startswith("${PARLEY_HOST:-127.0.0.1}:") for ports in published.values() for port in ports)
    without_profile = {name for name in published if "profiles" not in CONTAINERS[name]}
    assert without_profile == {"gateway"}


@needs_compose
@pytest.mark.parametrize("extra", [file.name for file in FILES if file.name != "docker-compose.yml"] or [""])
def test_compose_takes_the_files(extra):
    files = [part for name in ("docker-compose.yml", extra) if name for part in ("--file", name)]
    done = docker("compose", *files, "--profile", "*", "config", "--format", "json", PARLEY_SERVICE_TOKEN=SECRET)
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr
    told = [name for name, found in json.loads(done.stdout)["services"].items() if SECRET in json.dumps(found)]
    assert told == ["secrets"]  # all others read the file that it writes


@needs_engine
def test_the_gateway_image_holds_neither_torch_nor_root():
    built = docker("build", "--quiet", "--target", "gateway", ".")
    assert built.returncode == 0, built.stderr
    code = (
        "import importlib.util as u, os, services.gateway.__main__;"
        "print(os.getuid(), [name for name in ('torch', 'ray') if u.find_spec(name)])"
    )
    rights = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true", "--network=none"]
    done = docker("run", "--rm", *rights, built.stdout.strip(), "python", "-c", code)
    assert done.stdout.split() == ["10001", "[]"], done.stderr


def test_prometheus_scrapes_the_gateway_and_each_service_where_they_publish_their_metrics():
    config = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())
    found = {(name, target["port"]) for job in config["scrape_configs"] for target in job.get("dns_sd_configs", [])
             for name in target["names"]}  # fmt: skip
    own = {(container(service), int(service_port(container(service)))) for service in SERVICES}
    assert {("gateway", 8080), *own} <= found
    mounted = [volume.split(":")[:2] for volume in CONTAINERS["prometheus"]["volumes"]]
    assert ["./deploy/observability", "/etc/parley"] in mounted
    assert config["rule_files"] == ["/etc/parley/rules/*.yaml"]


def service_port(name: str) -> str:
    """Of its metrics; they must not listen on the container's loopback alone."""
    environment = CONTAINERS[name]["environment"]
    assert environment["PARLEY_METRICS_HOST"] == "0.0.0.0"
    return environment["PARLEY_METRICS_PORT"]
