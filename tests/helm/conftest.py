"""The chart, rendered by Helm's own engine, and the checks that every rendered object must pass."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "parley"
PRESETS = sorted(path.stem for path in (CHART / "presets").glob("*.yaml"))
sys.path.insert(0, str(Path(__file__).parent))

Objects = list[dict[str, Any]]


def merged(values: dict, over: dict) -> dict:
    """As Helm merges two values files."""
    result = dict(values)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def preset(name: str) -> dict:
    return yaml.safe_load((CHART / "presets" / f"{name}.yaml").read_text())


@pytest.fixture(scope="session")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(CHART) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def render(chart) -> Callable[..., Objects]:
    """`render(preset, over)`: the objects of a preset with some values changed, as `helm install demo` would make."""

    def render(name: str = "nano-cpu", over: dict | None = None, release: str = "demo", namespace: str = "prod"):
        values = merged(preset(name), over or {})
        chart.validate_schema(values)
        files = chart.render(values, name=release, namespace=namespace, is_install=True)
        texts = [text for path, text in files.items() if not path.endswith("NOTES.txt")]
        return [each for text in texts for each in yaml.load_all(text, Loader=StrictLoader) if each]

    return render


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that a mapping has already, as the API server does."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate keys {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


def of_kind(objects: Objects, kind: str) -> Objects:
    return [each for each in objects if each["kind"] == kind]


def one(objects: Objects, kind: str, end: str = "") -> dict:
    """The only object of a kind whose name ends so."""
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"].endswith(end)]
    return found


def rayservice_schema() -> dict:
    return json.loads((ROOT / "tests" / "fixtures" / "kuberay" / "rayservice.v1.json").read_text())
