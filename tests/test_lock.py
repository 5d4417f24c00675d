"""requirements.lock pins what pyproject.toml asks for, on every Python that Parley supports."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line[0] not in "# "]


def wanted() -> list[Requirement]:
    """Every requirement of the project and of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for lines in extras for line in lines)]
    return [Requirement(line) for line in lines if not line.startswith("parley[")]


def pinned(python: str) -> dict[str, str]:
    """Package → what the lock pins it to on Linux with this Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    lines = [line for line in LOCK if line.marker is None or line.marker.evaluate(environment)]
    pins = {canonicalize_name(line.name): str(line.specifier) for line in lines}
    assert len(pins) == len(lines), "a package is pinned twice: make lock"
    return pins


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_requirement_is_locked_to_the_version_that_it_pins(python):
    pins = pinned(python)
    for requirement in wanted():
        assert pins.get(canonicalize_name(requirement.name)) == str(requirement.specifier), f"{requirement}: make lock"


def test_the_lock_holds_for_every_build_of_torch():
    for line in LOCK:
        assert str(line.specifier).startswith("==") and "+" not in str(line.specifier) and line.url is None, line
        assert not line.name.startswith(("nvidia-", "cuda-")) and line.name != "triton", line


def test_the_lock_of_vllm_is_of_its_version_and_of_ours_where_it_allows_that():
    folder = ROOT / "services" / "llm_core" / "vllm_backend"
    lines = (folder / "requirements.lock").read_text().splitlines()
    pins = {canonicalize_name(line.name): str(line.specifier) for line in map(Requirement, lines[2:])}
    read = [line for name in ("requirements.txt", "overrides.txt") for line in (folder / name).read_text().splitlines()]
    asked = [Requirement(line) for line in read if line and not line.startswith("#")]
    for requirement in asked:
        if requirement.marker is None:
            version = pins[canonicalize_name(requirement.name)].removeprefix("==")
            assert requirement.specifier.contains(version), f"{requirement}: make vllm-lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras, changed = project["optional-dependencies"], {canonicalize_name(each.name) for each in asked}
    for line in [*project["dependencies"], *extras["gateway"], *extras["model"], *extras["serve"][1:]]:
        requirement = Requirement(line)
        if (name := canonicalize_name(requirement.name)) not in changed:
            assert pins[name] == str(requirement.specifier), f"{requirement}: make vllm-lock"
