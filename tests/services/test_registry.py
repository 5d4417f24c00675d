import grpc
import pytest

from services.registry import SERVICES, import_path


@pytest.mark.parametrize("name", SERVICES)
def test_settings_have_the_prefix_of_their_service(name):
    service = SERVICES[name]
    assert import_path(service.settings).model_config["env_prefix"] == service.environment_prefix
    assert service.environment_prefix == f"PARLEY_{name.upper()}_"


@pytest.mark.parametrize("name", SERVICES)
def test_a_servicer_has_the_name_of_its_service(name):
    assert SERVICES[name].load_servicer().service == name


@pytest.mark.parametrize("name", SERVICES)
async def test_a_stub_has_the_method_that_does_the_work(name):
    service = SERVICES[name]
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        stub = service.stub(channel)
    assert hasattr(stub, service.method) and hasattr(stub, "Describe")
