"""The Job that promotes within the cluster: its command, what it is told, and its name."""

import os

import pytest
from conftest import of_kind, one
from typer.main import get_command

from cli.promote import app


def job(render, **promotion) -> dict:
    return one(render(over={"promotion": promotion}), "Job")


def test_there_is_none_unless_it_is_asked_for(render):
    assert not of_kind(render(), "Job")


@pytest.mark.parametrize("promotion", [{"checkpoint": "/checkpoints/2"}, {"back": True}])
def test_the_command_line_takes_it(render, promotion, monkeypatch):
    (container,) = job(render, **promotion)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "cli.main", "promote"]
    for variable in container["env"]:
        monkeypatch.setitem(os.environ, variable["name"], variable.get("value", "x"))
    given = get_command(app).make_context("promote", container["args"]).params
    assert (given["checkpoint"], given["back"]) == (promotion.get("checkpoint", ""), "back" in promotion)
    assert (given["load_seconds"], given["drain_seconds"]) == (900, 240)
    assert given["serve_url"] == "http://demo-parley-head-svc:8265"
    assert given["services"] == "demo-parley-services:9000"
    assert given["redis_url"].endswith("@demo-parley-sessions:6379/0")


def test_it_is_tried_once_and_another_promotion_is_another_job(render):
    first, second = job(render, checkpoint="/checkpoints/2"), job(render, checkpoint="/checkpoints/3")
    assert first["spec"]["backoffLimit"] == 0
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first == job(render, checkpoint="/checkpoints/2"), "an upgrade with the same values changes nothing"


def test_nothing_else_changes(render):
    """Neither the cluster nor its Serve config: KubeRay would tell Serve to remove the new release."""
    before, after = render(), render(over={"promotion": {"checkpoint": "/checkpoints/2"}})
    assert one(before, "RayService") == one(after, "RayService")
