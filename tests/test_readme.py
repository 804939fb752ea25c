"""Tests of the README's commands: each is composed and planned, the set-up commands are resolved."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from experiments.report import folders
from experiments.report.statistics import paired
from experiments.report.tables import markdown_table
from memphis import config
from memphis.runs import REPOSITORY
from memphis.store import flatten
from tests import commands
from tests.composing import compose_config

README = (REPOSITORY / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"`(python train\.py[^`]*)`|^(python train\.py[^#\n]*)", README, re.M)))


def typed_commands() -> list[str]:
    return sorted({(inline or line).strip() for inline, line in COMMANDS})


def test_there_are_commands() -> None:
    assert len(typed_commands()) >= 8


@pytest.mark.parametrize("command", typed_commands())
def test_every_train_command_can_be_planned(command: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    typed = command.replace("<directory or hub id>", "owner/name").replace("<directory>", str(tmp_path))
    words = shlex.split(typed)[2:]
    plan = [] if {"--help", "plan=true"} & set(words) else ["plan=true"]
    environment = {**os.environ, "MEMPHIS_RUNS": str(tmp_path / "runs")}
    done = commands.run(str(REPOSITORY / "train.py"), *words, *plan, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--help" in words or "stages to build" in done.stdout


SLURM = (REPOSITORY / "slurm" / "README.md").read_text()
SWEEPS = {
    re.sub(r" --(dry-run|submit|status|cancel)\b", "", command).strip()
    for command in re.findall(r"^python -m experiments\.grid ([^#\n]*)", README + SLURM, re.M)
}


@pytest.mark.parametrize("overrides", sorted(SWEEPS))
def test_every_grid_command_can_be_planned(overrides: str, tmp_path: Path) -> None:
    environment = {**os.environ, "MEMPHIS_RUNS": str(tmp_path / "runs")}
    words = shlex.split(overrides)
    done = commands.run("-m", "experiments.grid", *words, "--dry-run", cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r"(\d+) arms: (\d+) stages, (\d+) unique", done.stdout)
    assert counts is not None
    said = re.findall(rf"{re.escape(overrides)} --dry-run +# (\d+) runs: (\d+) stages, (\d+) unique", README)
    assert said == [counts.groups()]


def test_batch_files_that_are_named_are_there_and_are_shell() -> None:
    named = set(re.findall(r"slurm/\w+\.sbatch", README + SLURM))
    assert named == {"slurm/train.sbatch", "slurm/array.sbatch"}
    for name in [*named, "slurm/stage.sbatch", "slurm/requeue.sh"]:
        done = subprocess.run(["bash", "-n", name], capture_output=True, text=True, cwd=REPOSITORY, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", README, re.M)) | {"lint"}))
def test_every_make_command_exists(target: str) -> None:
    done = subprocess.run(["make", "-n", target], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", README))))
def test_every_module_command_answers_help(module: str) -> None:
    done = commands.run("-m", module, "--help", cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_every_path_named_in_the_readme_is_there() -> None:
    for name in re.findall(r"`((?:memphis|eval|conf|docs|experiments|slurm|tests)/[\w./]*)`", README):
        assert (REPOSITORY / name).exists(), name


def test_the_laptop_dials_in_the_docs_are_those_of_the_config() -> None:
    """Check docs/recipe.md: it lists all differences between the laptop run and the card's, with the current values."""
    text = (
        (REPOSITORY / "docs" / "recipe.md").read_text().split("<!-- dials:begin -->")[1].split("<!-- dials:end -->")[0]
    )
    listed = {
        row[0].strip("` "): (row[1].strip(), row[2].strip())
        for line in text.splitlines()
        if len(row := line.split("|")[1:]) > 3
    }
    tiny, card = (flatten(config.to_dict(compose_config(*typed))) for typed in ([], ["+exp=memphis_cot"]))
    sections = ("sft.", "rank.", "generate.", "pairs.", "slerp.", "iterations")
    differing = {
        key: (str(tiny[key]), str(card[key])) for key in tiny if key.startswith(sections) and tiny[key] != card.get(key)
    }
    assert listed == differing


def test_the_table_in_the_readme_is_what_eval_table_makes() -> None:
    done = commands.run("-m", "eval.table", "--check", cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_laptop_results_in_the_readme_are_those_of_the_study() -> None:
    found = folders.load(REPOSITORY / "experiments" / "tiny" / "results.json")
    column = "tiny/tiny_gen"
    rows = [["model", "accuracy, % (mean ± sd)", "minus SFT, paired by seed (± standard error)"]]
    sft = found.arm("sft_only").scores(column)
    for title, label in (
        ("SFT on 100 rationales", "sft_only"),
        ("self-taught, 3 iterations (memphis)", "memphis rank.weight=0.25"),
        ("control: SFT continued for as many steps and tokens", "sft_continued"),
    ):
        arm = found.arm(label)
        score, gain = arm.score(column), paired(arm.scores(column), sft)
        assert score is not None
        assert gain is not None
        assert score.n == gain.n == 5
        shown = "" if label == "sft_only" else f"{100 * gain.mean:+.1f} ± {100 * (gain.error or 0):.1f}"
        rows.append([title, f"{100 * score.mean:.1f} ± {100 * (score.sd or 0):.1f}", shown])
    block = README.split("<!-- laptop:begin -->\n")[1].split("\n<!-- laptop:end -->")[0]
    assert block == markdown_table(rows)


def test_the_committed_results_are_what_their_files_say() -> None:
    done = commands.run("-m", "experiments.report", "--check", cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
