"""The install refuses gigabytes that nobody asked for."""

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def install(monkeypatch):
    spec = importlib.util.spec_from_file_location("install", ROOT / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.calls = []
    monkeypatch.setattr(sys, "argv", ["install.py", "serve"])
    return module


def answer_with(install, monkeypatch, *names: str) -> None:
    """pip's answer to what installing torch would bring."""

    def pip(*arguments, capture=False):
        install.calls.append(arguments)
        return json.dumps({"install": [{"metadata": {"name": name}} for name in names]})

    monkeypatch.setattr(install, "pip", pip)


def test_the_cuda_stack_is_refused_in_one_line_that_says_what_to_do(install, monkeypatch):
    answer_with(install, monkeypatch, "torch", "nvidia-cublas", "nvidia-cudnn-cu13", "triton", "sympy")
    with pytest.raises(SystemExit) as refused:
        install.main()
    message = str(refused.value)
    assert "nvidia-cublas and 2 more" in message and "TORCH_INDEX" in message and "GPU=1" in message
    assert len(install.calls) == 1 and "--dry-run" in install.calls[0]  # nothing was installed


def test_it_is_installed_where_it_was_asked_for(install, monkeypatch):
    answer_with(install, monkeypatch, "torch", "nvidia-cublas")
    monkeypatch.setattr(sys, "argv", ["install.py", "--gpu", "1", "serve"])
    install.main()
    assert len(install.calls) == 1 and "--dry-run" not in install.calls[0]


def test_the_cpu_build_is_installed_from_the_index_that_was_named(install, monkeypatch):
    answer_with(install, monkeypatch, "torch", "sympy")
    monkeypatch.setattr(sys, "argv", ["install.py", "--torch-index", "https://index.example/cpu", "serve", "test"])
    install.main()
    assert [call[0] for call in install.calls] == ["install", "install"]
    assert all("https://index.example/cpu" in call for call in install.calls)
    assert install.calls[1][-1].endswith("[serve,test]")


def test_every_requirement_is_locked_to_the_version_that_it_pins(install):
    locked = dict(line.split("==") for line in install.LOCK.read_text().splitlines() if "==" in line and line[0] != "#")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(each for some in project["optional-dependencies"].values() for each in some)]
    for requirement in wanted:
        name, version = re.fullmatch(r"([\w.-]+)(?:\[\w+\])?==(\S+)", requirement).groups()
        assert locked.get(re.sub(r"[-_.]+", "-", name).lower()) == version, f"{requirement}: write the lock anew"
    assert not any("+" in version or "/" in version for version in locked.values())
