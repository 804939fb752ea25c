"""Tests of docs/adding.md: its patches apply to this repository, and their additions can be used."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memphis.runs import REPOSITORY

_PATCH = re.compile(r"^## (.+?)$.*?^```diff\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATCHES = dict(_PATCH.findall((REPOSITORY / "docs" / "adding.md").read_text()))
USES = """
from pathlib import Path
from eval.suites import find_suite
from memphis.config.methods import method_name, methods
from memphis.config import to_dict
from memphis.config.forms import parse
from memphis.pipeline import KINDS
from memphis.recipe import recipe
from tests.composing import compose_config

assert {"rank_human", "hinge"} <= methods().keys()
for name in ("rank_human", "hinge"):
    assert method_name(to_dict(compose_config(f"method={name}"))) == name
assert compose_config("method=hinge", "rank.beta=0.3").rank.objective.beta == 0.3
assert compose_config("pairs.min_correct=2").pairs.min_correct == 2
assert compose_config("eval=arc").eval.suites == ["arc"] and find_suite("arc").columns
assert set(compose_config("data=mine", "eval=none").data.sources) == {"strategy", "mine"}

chain = recipe(compose_config(), Path("identities.json"))
average = next(stage for stage in chain if stage.kind == "average")
assert list(average.inputs) == ["models-1", "models-2", "models-3"]
assert chain[-1].kind == "evaluate" and chain[-1].inputs["model"] is average
parse(KINDS["average"].form, average.config)
assert KINDS["average"].writes and not KINDS["average"].starts
assert all(KINDS["average"].reads_model(role) for role in average.inputs)
import memphis.stages.average
"""


def test_every_kind_of_addition_is_shown() -> None:
    assert len(PATCHES) == 6


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository with all patches applied."""
    root = tmp_path_factory.mktemp("adding")
    for folder in ("memphis", "eval", "experiments", "conf", "tests"):
        unwanted = shutil.ignore_patterns("__pycache__", "golden", "results*")
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=unwanted)
    for heading, patch in PATCHES.items():
        command = ["git", "apply", "-p0", "-"]
        done = subprocess.run(command, cwd=root, input=patch, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{heading}: {done.stderr}"
    return root


def test_what_the_patches_add_can_be_used(changed: Path) -> None:
    done = subprocess.run([sys.executable, "-c", USES], cwd=changed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
