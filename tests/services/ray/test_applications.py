"""Serve applications of all services, without a running Ray."""

import subprocess
import sys

import pytest

from services.ray import applications
from services.ray.scaling import Scaling
from services.registry import SERVICES, import_path


def test_importing_the_module_needs_neither_ray_nor_torch():
    code = "import sys, services.ray.applications; print([name for name in ('ray', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_an_application_is_named_like_its_service(name, monkeypatch):
    monkeypatch.setenv(f"{SERVICES[name].environment_prefix}NUM_REPLICAS", "3")
    monkeypatch.setenv("PARLEY_MAX_STREAMS", "10")
    deployment = getattr(applications, name)({"checkpoint": "made/3.2"})._bound_deployment
    assert (deployment.name, deployment.num_replicas, deployment.max_ongoing_requests) == (name, 3, 20)
    assert deployment.init_args == ("made/3.2",)


@pytest.mark.parametrize("name", SERVICES)
def test_bounds_from_the_environment_scale_a_service(name, monkeypatch):
    monkeypatch.setenv(f"{SERVICES[name].environment_prefix}MAX_REPLICAS", "3")
    monkeypatch.setenv("PARLEY_SCALE_DOWN_SECONDS", "20")
    deployment = getattr(applications, name)({})._bound_deployment
    config = deployment._deployment_config.autoscaling_config
    assert (config.min_replicas, config.max_replicas) == (1, 3)
    assert Scaling.of(config.policy.policy_kwargs) == Scaling(down_seconds=20.0)  # the defaults are the policy's own
    assert callable(deployment.func_or_class.record_autoscaling_stats)


def test_bounds_that_cross_are_named(monkeypatch):
    monkeypatch.setenv("PARLEY_LLM_CORE_NUM_REPLICAS", "3")
    monkeypatch.setenv("PARLEY_LLM_CORE_MAX_REPLICAS", "2")
    with pytest.raises(ValueError, match=r"max_replicas \(2\) is below num_replicas \(3\)"):
        applications.llm_core({})


def test_there_is_no_application_without_a_service():
    with pytest.raises(AttributeError, match="no_service"):
        import_path("services.ray.applications:no_service")


@pytest.mark.parametrize("name", SERVICES)
def test_every_method_of_a_contract_is_forwarded(name):
    service = SERVICES[name]
    import_path(service.generated_add_to_server)
    streams = applications.methods_of(service.contract)
    assert streams == {service.method: name != "vision_encoder", "Describe": False}
