"""Rules and dashboards: they are what Prometheus takes, they name metrics that there are, and each alert is tested."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from services.telemetry import dashboards, metrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "observability"
RULE_FILES = sorted((FOLDER / "rules").glob("*.yaml"))
TEST_FILES = sorted((FOLDER / "tests").glob("*.yaml"))
PROMTOOL = shutil.which("promtool")
NEEDS_PROMTOOL = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not on the PATH: Debian's package `prometheus` has it, no Python package does"
)
VARIABLES = {"$__rate_interval": "5m", "$service": ".*"}  # of Grafana, and values that they may have
SUFFIXES = {Counter: ("_total",), Gauge: ("",), Histogram: ("_bucket", "_sum", "_count")}


def rules() -> list[dict]:
    return [
        rule for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]
    ]


def alerts() -> dict[str, dict]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def panels(name: str) -> list[dict]:
    return json.loads((FOLDER / "dashboards" / name).read_text())["panels"]


def dashboard_expressions() -> list[str]:
    found = [
        target["expr"]
        for name in dashboards.dashboards()
        for panel in panels(name)
        for target in panel.get("targets", [])
    ]
    for variable, value in VARIABLES.items():
        found = [expression.replace(variable, value) for expression in found]
    return found


def exported() -> set[str]:
    """Names of all series of ours."""
    kinds = tuple(SUFFIXES)
    ours = [metric for metric in vars(metrics).values() if isinstance(metric, kinds)]
    return {metric._name + suffix for metric in ours for suffix in SUFFIXES[type(metric)]}


def promtool(*arguments: object) -> None:
    done = subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@NEEDS_PROMTOOL
def test_prometheus_takes_the_rules():
    promtool("check", "rules", *RULE_FILES)


@NEEDS_PROMTOOL
def test_every_alert_fires_when_it_should_and_only_then():
    promtool("test", "rules", *TEST_FILES)


@NEEDS_PROMTOOL
def test_prometheus_understands_every_expression_of_the_dashboards(tmp_path):
    parsed = [{"record": f"dashboard:{n}", "expr": expr} for n, expr in enumerate(dashboard_expressions())]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": parsed}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")


def test_every_alert_has_a_test_that_fires_it_and_one_that_does_not():
    expected: dict[str, set[bool]] = {}
    for path in TEST_FILES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                expected.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert expected == {name: {True, False} for name in alerts()}


def test_every_metric_that_is_named_exists():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    expressions = [rule["expr"] for rule in rules()] + dashboard_expressions()
    named = {name for expression in expressions for name in re.findall(r"\bparley[_:][a-z0-9_:]+", expression)}
    assert named - exported() - recorded == set()
    assert recorded <= named, "a recording rule that nothing reads"


def test_a_metric_that_does_not_exist_is_noticed():
    assert {"parley_turns_total", "parley_first_audio_seconds_bucket", "parley_open_turns"} <= exported()
    assert "parley_turns" not in exported() and "parley_no_such_thing" not in exported()


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    page = (ROOT / "docs" / "operations.md").read_text()
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}, name
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}", name
        assert re.search(rf"^#+ {name}$", page, re.MULTILINE), f"docs/operations.md has no section {name}"


def test_the_dashboards_are_what_their_source_writes():
    written = {path.name: path.read_text() for path in (FOLDER / "dashboards").glob("*.json")}
    expected = {name: dashboards.text(content) for name, content in dashboards.dashboards().items()}
    assert written == expected, "run: python -m services.telemetry.dashboards"


@pytest.mark.parametrize("name", dashboards.dashboards())
def test_a_dashboard_can_be_imported_and_read(name):
    board = json.loads((FOLDER / "dashboards" / name).read_text())
    assert board["uid"] == name.removesuffix(".json") and board["templating"]["list"][0]["type"] == "datasource"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"] and panel["targets"] and panel["datasource"]["uid"] == "${datasource}"
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_grafana_is_told_where_prometheus_and_the_dashboards_are():
    provisioning = FOLDER / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "parley.yaml").read_text())
    boards = yaml.safe_load((provisioning / "dashboards" / "parley.yaml").read_text())
    assert sources["apiVersion"] == boards["apiVersion"] == 1
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
    assert boards["providers"][0]["options"]["path"] == "/var/lib/grafana/dashboards"
