"""Tests of layering: imports go downwards, heavy libraries stay in their packages, --help and plan=true load none."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from memphis.runs import REPOSITORY
from tests.micro import environment

# Package -> layer. A file may import its own package and the same or lower layers. More specific names take precedence.
LAYERS = {
    "memphis.devices": 0,
    "memphis.dotted": 0,
    "memphis.errors": 0,
    "memphis.formatting": 0,
    "memphis.hooks": 0,
    "memphis.jsonl": 0,
    "memphis.paths": 0,
    "memphis.privacy": 0,
    "memphis.processes": 0,
    "memphis.ranges": 0,
    "memphis.shape": 0,
    "memphis.answers": 1,
    "memphis.methods": 1,
    "memphis.losses": 1,
    "memphis.config": 1,
    "memphis.store": 1,
    "memphis.memory": 2,
    "memphis.data": 2,
    "memphis.training": 3,
    "memphis.sampling": 3,
    "memphis.pipeline": 3,
    "eval": 3,
    "memphis.stages": 4,
    "memphis.recipe": 4,
    "memphis.engine": 4,
    "memphis.runs": 5,
    "memphis.tracking": 6,
    "experiments": 7,
    "train": 8,
    "benchmarks": 9,
}
SIDEWAYS = {"memphis.training", "memphis.sampling"}  # same layer, must not import each other
# Library -> packages that may import it.
ALLOWED_IN = {
    "wandb": ("memphis.tracking",),
    "wandb_workspaces": ("experiments.report.wandb_report",),
    "vllm": ("memphis.sampling.vllm", "eval"),
    "lm_eval": ("eval",),
    "transformers": ("memphis.training", "memphis.data", "memphis.sampling.hf", "memphis.stages", "eval", "benchmarks"),
    "jinja2": ("experiments.report.templating",),
    "hydra": ("train", "memphis.config", "experiments.grid.frozen"),
    "datasets": ("memphis.data.sources", "eval", "benchmarks.peers"),
    "trl": ("benchmarks.peers",),
}
PURE = {
    "memphis.answers": {"torch", "os", "pathlib", "json"},
    "memphis.data.prompts": {"torch", "os", "pathlib"},
    "memphis.methods": {"os", "pathlib", "json"},
}


def modules() -> dict[str, Path]:
    files = [
        REPOSITORY / "train.py",
        *(f for top in ("memphis", "eval", "experiments", "benchmarks") for f in (REPOSITORY / top).rglob("*.py")),
    ]
    return {
        ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): file for file in files
    }


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def package(name: str, packages: list[str]) -> str | None:
    return max((p for p in packages if name == p or name.startswith(f"{p}.")), key=len, default=None)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_downwards(name: str) -> None:
    if name == "memphis":
        return
    mine = package(name, list(LAYERS))
    assert mine is not None, f"{name} is in no package: give it a layer"
    for other in imports(modules()[name]):
        theirs = package(other, list(LAYERS))
        if theirs is not None and theirs != mine:
            assert LAYERS[theirs] <= LAYERS[mine], f"{name} imports {other} upwards"
            assert not {mine, theirs} <= SIDEWAYS, f"{name} imports {other} sideways"


def test_no_modules_import_one_another_in_a_circle() -> None:
    files = {name: file for name, file in modules().items() if file.name != "__init__.py"}
    edges = {(name, other) for name, file in files.items() for other in imports(file) & files.keys()}
    assert not [name for name in files if name in reachable(edges, name)]


@pytest.mark.parametrize("name", sorted(modules()))
def test_libraries_stay_in_their_packages(name: str) -> None:
    found = {other.split(".")[0] for other in imports(modules()[name])}
    for library, packages in ALLOWED_IN.items():
        if library in found:
            assert package(name, list(packages)), f"{name} imports {library}"
    for pure, banned in PURE.items():
        if package(name, [pure]) and not name.endswith(".__main__"):  # a command reads files
            assert not found & banned, f"{name} is pure and imports {found & banned}"


HEAVY = {"torch", "vllm", "wandb", "transformers", "lm_eval", "datasets", "pandas", "scipy", "sklearn", "numpy"}
MODULES = 700  # limit for a command that builds nothing; 523 today


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--help"], "python train.py +exp=memphis_cot"),
        (["+exp=memphis_cot", "plan=true"], "memory of a device in rank"),
    ],
    ids=["help", "plan"],
)
def test_asking_is_quick_as_it_loads_nothing_heavy(tmp_path: Path, words: list[str], shown: str) -> None:
    """Count modules; `python -m benchmarks limits` measures seconds."""
    code = (
        f"import sys, runpy, atexit; atexit.register(lambda: print('LOADED', sorted({HEAVY!r} & set(sys.modules)), len(sys.modules)));"
        f"sys.argv={['train.py', *words]!r}; runpy.run_path({str(REPOSITORY / 'train.py')!r}, run_name='__main__')"
    )
    env = environment(tmp_path / "runs", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hf"))
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)
    loaded, _, count = done.stdout.rpartition("LOADED ")[2].rpartition(" ")
    assert loaded == "[]", done.stdout[-300:] + done.stderr[-300:]
    assert int(count) < MODULES
    assert shown in done.stdout
    assert not list(tmp_path.iterdir())  # the command leaves no files


def reachable(edges: set[tuple[str, str]], start: str) -> set[str]:
    """Every node that the edges lead to from `start`."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        here = waiting.pop()
        ahead = {b for a, b in edges if a == here} - found
        found |= ahead
        waiting += ahead
    return found


def test_the_picture_of_the_architecture_shows_the_imports() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text().partition("```mermaid")[2].partition("```")[0]
    rows = [line.split(" --> ") for line in text.splitlines() if "-->" in line]
    drawn = {(a.strip(), b.strip()) for a, ends in rows for b in ends.split("&")}
    nodes = {name if name in ("train", "experiments", "eval") else f"memphis.{name}" for edge in drawn for name in edge}

    def node(name: str) -> str:
        return (package(name, list(nodes)) or "").removeprefix("memphis.")

    found = {(node(name), node(other)) for name, file in modules().items() for other in imports(file)}
    found = {(a, b) for a, b in found if a and b and a != b}
    assert drawn == {(a, b) for a, b in found if b not in reachable(found - {(a, b)}, a)}
