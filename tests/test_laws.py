"""Who may import whom (docs/architecture.md), read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "service.py").exists())


def imports(folder: str) -> set[tuple[str, str]]:
    """(file, module it imports) of every file under a folder of the repository."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {(str(path.relative_to(ROOT)), name.name) for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add((str(path.relative_to(ROOT)), node.module))
    return found


def offenders(folder: str, *forbidden: str) -> list[tuple[str, str]]:
    return sorted(
        (file, module)
        for file, module in imports(folder)
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    )


def test_the_model_library_stands_alone():
    assert offenders("parley", "training", "services", "cli", "benchmarks", "ray", "grpc") == []


def test_training_knows_no_services():
    assert offenders("training", "services", "cli", "benchmarks", "ray", "grpc") == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_knows_no_other(service):
    others = [f"services.{other}" for other in SERVICES if other != service]
    assert offenders(f"services/{service}", "training", "cli", "benchmarks", *others) == []


def test_the_gateway_and_the_command_line_start_without_torch():
    for module in ("services.gateway.__main__", "cli.main", "cli.up", "cli.down", "cli.status", "cli.ask"):
        code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'ray') if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.strip() == "[]", f"{module}: {done.stdout}{done.stderr}"
