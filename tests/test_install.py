"""install.py takes the build of torch that fits the machine; pip is a fake here."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CPU = "https://download.pytorch.org/whl/cpu"
OTHER = "https://index.example/whl"


@pytest.fixture
def module():
    spec = importlib.util.spec_from_file_location("install", ROOT / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def install(module, monkeypatch):
    """The module, on a machine without a driver where pip's own index has the CUDA build."""
    module.calls = []
    module.brings = ["torch", "nvidia-cublas", "triton", "sympy"]

    def pip(*arguments, capture=False):
        module.calls.append(arguments)
        return json.dumps({"install": [{"metadata": {"name": name}} for name in module.brings]})

    monkeypatch.setattr(module, "pip", pip)
    monkeypatch.setattr(module, "version", lambda name: "26.3")
    monkeypatch.setattr(module, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(module, "is_installed", lambda package: False)
    return module


def installed_from(install) -> str:
    """The index that torch was taken from; "" is pip's own."""
    *before, last = [call for call in install.calls if "--dry-run" not in call]
    assert "--index-url" not in last and "-e" in last
    return before[0][before[0].index("--index-url") + 1] if before else ""


@pytest.mark.parametrize(
    ("driver", "cuda_is_default", "options", "index"),
    [
        (False, True, [], CPU),
        (False, False, [], ""),
        (True, True, [], ""),
        (True, False, [], ""),
        (True, True, ["--gpu", "0"], CPU),
        (True, False, ["--gpu", "0"], ""),
        (False, True, ["--gpu", "0"], CPU),
        (False, True, ["--gpu", "1"], ""),
        (False, True, ["--torch-index", OTHER], OTHER),
        (True, True, ["--torch-index", OTHER], OTHER),
        (False, True, ["--torch-index", OTHER, "--gpu", "1"], OTHER),
        (True, True, ["--torch-index", "", "--gpu", ""], ""),
    ],
)
def test_the_build_of_torch_follows_the_machine_unless_it_is_named(
    install, monkeypatch, driver, cuda_is_default, options, index
):
    monkeypatch.setattr(install, "has_nvidia_driver", lambda: driver)
    if not cuda_is_default:
        install.brings = ["torch", "sympy"]
    install.main([*options, "serve"])
    assert installed_from(install) == index


def test_the_choice_is_printed_in_one_line(install, capsys):
    install.main(["serve"])
    line = capsys.readouterr().out.splitlines()[0]
    assert "no NVIDIA driver" in line and CPU in line and "GPU=1" in line and "TORCH_INDEX" in line


def test_only_torch_is_taken_from_another_index_and_at_the_locked_version(install):
    install.main(["test"])
    _, torch, rest = install.calls
    assert "--no-deps" in torch and torch[-1] == install.torch_pin()
    assert str(install.LOCK) in rest and rest[-1] == f"{ROOT}[test]"


def test_the_gateway_does_not_ask_about_torch(install):
    install.main(["gateway"])
    assert len(install.calls) == 1 and install.calls[0][-1].endswith("[gateway]")


@pytest.mark.parametrize(("version", "replaced"), [("22.1.2", True), ("25.2", True), ("25.3", False), ("26.3", False)])
def test_a_pip_that_would_download_the_wheels_to_answer_is_replaced_first(
    install, monkeypatch, capsys, version, replaced
):
    monkeypatch.setattr(install, "version", lambda name: version)
    install.main(["serve"])
    assert (install.calls[0] == ("install", "-qq", install.PIP_PIN)) == replaced
    assert (f"pip {version} is too old" in capsys.readouterr().out) == replaced


def test_an_image_holds_no_link_to_the_build_folder(install):
    install.main(["--no-editable", "gateway"])
    assert "-e" not in install.calls[-1] and install.calls[-1][-1].endswith("[gateway]")


def test_an_unknown_extra_is_refused(install):
    with pytest.raises(SystemExit, match="no extra serv; there are gateway, model, serve"):
        install.main(["serv"])
    assert install.calls == []


def test_pip_failing_ends_the_install(module, monkeypatch):
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 1))
    with pytest.raises(SystemExit, match=r"pip failed; .*pip install -x"):
        module.pip("install", "-x")


@pytest.mark.parametrize(("script", "found"), [("exit 0", True), ("exit 9", False), (None, False)])
def test_a_driver_is_found_by_an_nvidia_smi_that_runs(module, monkeypatch, tmp_path, script, found):
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setattr(module, "DRIVER_FILES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module.has_nvidia_driver() == found


def test_a_driver_is_found_by_its_files(module, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "DRIVER_FILES", (tmp_path / "absent", tmp_path))
    monkeypatch.setenv("PATH", "")
    assert module.has_nvidia_driver()


@pytest.mark.parametrize(("options", "again"), [(["--gpu", "1"], True), (["--gpu", "0"], True), ([], False)])
def test_another_build_of_torch_replaces_the_one_that_is_installed(install, monkeypatch, options, again):
    monkeypatch.setattr(install, "is_installed", lambda package: True)
    install.main([*options, "serve"])
    torch = [call for call in install.calls if "--dry-run" not in call and "-e" not in call]
    assert any("--force-reinstall" in call for call in torch) is again
    assert any(CPU in call for call in torch) is (options != ["--gpu", "1"])
