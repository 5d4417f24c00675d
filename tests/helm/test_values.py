"""The values: each has a sentence, and the defaults have all of them."""

import json
from collections.abc import Iterator

import yaml
from conftest import CHART

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def resolved(schema: dict) -> dict:
    reference = schema.get("$ref", "")
    return SCHEMA["$defs"][reference.rpartition("/")[2]] if reference else schema


def properties(schema: dict, path: str = "") -> Iterator[tuple[str, dict, dict]]:
    """Path, the property as written, and what it refers to."""
    for name, each in resolved(schema).get("properties", {}).items():
        yield f"{path}.{name}", each, resolved(each)
        yield from properties(each, f"{path}.{name}")


def test_each_value_has_a_sentence():
    for path, written, _ in properties(SCHEMA):
        if not path.endswith(".extraEnv.name"):
            sentence = written.get("description", "")
            assert len(sentence) > 10 and sentence.endswith("."), path


def test_no_object_takes_unknown_keys_unless_its_keys_are_kubernetes_own():
    for path, _, schema in [("", SCHEMA, SCHEMA), *properties(SCHEMA)]:
        if "properties" in schema:
            assert schema.get("additionalProperties") is False, path


def test_the_defaults_have_every_value():
    """Except those of a probe that most leave alone, and of a service, which has them from serviceDefaults."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path, _, _ in properties(SCHEMA):
        keys = path[1:].split(".")
        if keys[0] in ("global",) or (keys[0] == "services" and len(keys) > 2) or keys[-1] == "initialDelaySeconds":
            continue
        place = values
        for key in keys:
            assert isinstance(place, dict) and key in place, path
            place = place[key]
