"""Each extra of pyproject.toml has the packages that its code imports, read from the graph of imports."""

import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = ("parley", "training", "services", "cli", "benchmarks", "protos")
DISTRIBUTIONS = packages_distributions()

# What an option starts. It is not imported without that option, so its packages are in an extra of their own.
TRITON = [
    "parley.export.configuration",
    "parley.export.graph_writer",
    "parley.export.repository",
    "services.engine.triton",
    "services.speech_encoder.backends.triton",
    "services.vision_encoder.backends.triton",
]
SPEECH = "training.data.world.speech"
VOICES = ["training.data.world.judges", *(f"{SPEECH}.{name}" for name in ("hibari", "kokoro", "piper", "packages"))]
OPTIONAL = {"serve,triton": TRITON, "train,voices": VOICES}
VLLM = ("engine", "parameters", "sequence", "vocabulary")
ELSEWHERE = [
    *(f"services.llm_core.vllm_backend.{name}" for name in VLLM),  # in an environment of its own: `make vllm`
    "benchmarks.roofline_vllm",
    "parley.export.triton_model",  # a Triton server runs it
    "services.gateway.media.silero.convert",  # who changes the network runs it
]

# Extras → what starts with them alone; a package stands for all of its modules.
STARTS = {
    "gateway": ["services.gateway", "cli.main", "cli.ask", "cli.status", "cli.keys"],
    "model": ["parley"],
    "serve": ["services", "cli.up", "cli.down", "cli.demo"],
    "train": [
        *(f"training.{part}" for part in ("data", "evaluation", "objectives", "stages", "launch.local", "resources")),
        *("cli.train", "cli.plan", "cli.eval", "cli.data", "cli.init_checkpoint", "cli.import_checkpoint"),
    ],
    "kubernetes": ["training.launch.kubernetes", "cli.launch", "cli.jobs"],
    **OPTIONAL,
    "test": list(OURS),
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*OURS, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)


def reached(graph: grimp.ImportGraph, start: str) -> set[str]:
    """Every module that `start` may run, third-party packages included; imports inside functions count."""
    skipped = {*ELSEWHERE, *chain(*(modules for modules in OPTIONAL.values() if start not in modules))}
    found, waiting = set(), {start, *graph.find_descendants(start)} - skipped
    while waiting:
        module = waiting.pop()
        found.add(module)
        if module.partition(".")[0] in OURS:
            parent = module.rpartition(".")[0] or module
            waiting |= ({parent} | graph.find_modules_directly_imported_by(module)) - found - skipped
    return found


def third_party(graph: grimp.ImportGraph, start: str) -> set[str]:
    """Names of the third-party packages that `start` may import."""
    names = {module.partition(".")[0] for module in reached(graph, start)}
    return names - set(OURS) - sys.stdlib_module_names


def installed_with(extra: str) -> set[str]:
    """Distributions that are named by the project, the extra, and the extras that it includes."""
    requirements = [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
    names = {canonicalize_name(line) for line in (Requirement(line).name for line in PROJECT["dependencies"])}
    for requirement in requirements:
        included = requirement.extras if requirement.name == PROJECT["name"] else ()
        names |= {canonicalize_name(requirement.name)}.union(*map(installed_with, included))
    return names


@pytest.mark.parametrize(("extra", "start"), [(extra, start) for extra, starts in STARTS.items() for start in starts])
def test_what_is_imported_is_installed(graph, extra, start):
    distributions = set().union(*map(installed_with, extra.split(",")))
    for name in sorted(third_party(graph, start)):
        owners = {canonicalize_name(owner) for owner in DISTRIBUTIONS.get(name, [])}
        assert owners & distributions, f"{start} imports {name}, which the extra {extra!r} does not install"


def test_the_gateway_installs_no_torch():
    assert not {"torch", "transformers", "ray"} & installed_with("gateway")
