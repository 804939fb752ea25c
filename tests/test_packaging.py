"""Tests of the repository as a package manager sees it."""

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

import memphis
from memphis.runs import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
# Packages of the lock that are published as sources only.
SOURCES = "antlr4-python3-runtime,rouge_score,word2number,sqlitedict,tqdm-multiprocess"


def pip(python: Path | str, *words: str) -> str:
    command = [str(python), "-m", "pip", *words, "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_package_is_listed() -> None:
    """Check the list of packages, kept by hand: automatic discovery refuses several top-level packages."""
    folders = {file.parent for top in ("memphis", "eval", "experiments") for file in (REPOSITORY / top).rglob("*.py")}
    found = {".".join(folder.relative_to(REPOSITORY).parts) for folder in folders} | {"conf"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_versions_agree() -> None:
    assert f"version: {memphis.__version__}\n" in (REPOSITORY / "CITATION.cff").read_text()
    assert f"## {memphis.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_it_can_be_installed_for_editing(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip(python, "install", "--editable", str(REPOSITORY))
    code = "import memphis, eval, experiments; print(memphis.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == memphis.__version__


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.12", "3.13"])
def test_the_lock_resolves_for_other_pythons(python: str, tmp_path: Path) -> None:
    where = ["--python-version", python, "--target", str(tmp_path), "--only-binary=:all:", f"--no-binary={SOURCES}"]
    pip(sys.executable, "install", "--dry-run", "--no-deps", *where, "--requirement", "requirements-cpu.txt")
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"
