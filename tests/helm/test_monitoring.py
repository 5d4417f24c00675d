"""Rules and dashboards are taken from deploy/observability, whatever is there."""

import json
import shutil

import helm_python
import pytest
import strict
import yaml
from conftest import CHART, ROOT, of_kind, one, preset

ON = {"monitoring": {name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "rules", "dashboards")}}
RULES = {
    "groups": [{"name": "g", "rules": [{"alert": "Down", "expr": "up == 0", "annotations": {"a": "{{ $value }}"}}]}]
}


@pytest.fixture
def files(tmp_path):
    """Objects of a chart whose observability folder has these files."""

    def objects(content: dict[str, object]) -> list[dict]:
        copy = tmp_path / "parley"
        shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("observability"))
        for name, each in content.items():
            path = copy / "files" / "observability" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(each))
        with helm_python.Chart.load(copy) as chart:
            rendered = chart.render({**preset("nano-cpu"), **ON}, name="demo", namespace="prod")
        return [each for each in yaml.safe_load_all(rendered["parley/templates/monitoring.yaml"]) if each]

    return objects


def test_rules_and_dashboards_become_objects(files):
    dashboard = {"title": "Parley", "panels": [{"legend": "{{service}}"}]}
    objects = files(
        {
            "rules/alerts_1.yaml": RULES,
            "tests/alerts.test.yaml": {"rule_files": ["x"], "tests": []},
            "dashboards/overview.json": dashboard,
            "grafana/other.json": {"no": "dashboard"},
        }
    )
    for thing in objects:
        strict.check(thing)
    assert one(objects, "PrometheusRule", "-alerts-1")["spec"] == RULES, "Prometheus' own templates stay"
    written = one(objects, "ConfigMap", "-dashboard-overview")
    assert json.loads(written["data"]["overview.json"]) == dashboard
    assert written["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_projects_own_are_taken(render):
    objects = render(over=ON)
    folder = ROOT / "deploy" / "observability"
    rules = [path for path in folder.rglob("*.y*ml") if "groups" in (yaml.safe_load(path.read_text()) or {})]
    dashboards = [path for path in folder.rglob("*.json") if "panels" in json.loads(path.read_text())]
    assert len(of_kind(objects, "PrometheusRule")) == len(rules)
    assert len(of_kind(objects, "ConfigMap")) == len(dashboards)


def test_our_label_service_is_kept(render):
    """Prometheus would give the name of the Kubernetes Service its place."""
    objects = render(over=ON)
    (endpoint,) = one(objects, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True
    ours = one(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert [each["port"] for each in ours] == ["parley-metrics", "parley-metrics2"]
    assert all(each["honorLabels"] for each in ours)
