"""Experiment: does a cycle of self-teaching help a real model, beyond as much further supervised training?

`python -m experiments.real MODEL ROWS WORK` builds what is missing of the runs of README.md and writes its tables;
the same command goes on after an interruption. MODEL: SmolLM2-135M-Instruct, a directory or hub id. ROWS: directory
with train.jsonl and heldout.jsonl (columns prompt, rationale, target, source). WORK: directory for runs, some 10 GB.
`--trial` does the same with a few rows, in WORK/trial.
"""

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.compare import bootstrap
from eval.records import answers, find
from experiments.report.folders import BEGIN, END
from experiments.report.statistics import paired
from experiments.report.tables import markdown_table
from memphis import REPOSITORY
from memphis.config import slug
from memphis.devices import cores
from memphis.formatting import duration
from memphis.jsonl import read_rows
from memphis.pipeline import KINDS
from memphis.store import Store, read_json, write_text

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)
SUITE, COLUMN = "heldout", "tinycot"
ARMS = {
    "memphis": ("method=memphis",),
    "sft_continued": ("method=sft_continued",),
    "base": ("method=none",),
    "base, 4-shot": ("method=none", "eval.shots=4"),
}
MEMPHIS, *REFERENCES = ARMS
# 16 rows, 8 questions, one cycle, 16 held-out rows at the ends and 8 between; steps so long that the format is learnt.
TRIAL = (
    *("data.sources.tinycot.limit=4", "data.sources.tinycot.questions=2", "iterations=1", "generate.max_new_tokens=64"),
    *("sft.optim.name=adamw", "sft.optim.lr=1e-4", "sft.global_batch_size=4", "generate.temperature=1"),
    *("pairs.unfinished=incorrect", "eval.limit=4", "eval.limit_between=2"),
)
TRAINED = ("sft.", "generate.temperature", "pairs.")  # words that say nothing where nothing is trained
RESAMPLES = 10_000
POWER = 0.8  # of what could have been detected


def train(arm: str, seed: int, model: str, rows: Path, root: Path, words: Sequence[str]) -> Path:
    """Run an arm with train.py, which continues what was interrupted. Returns its run directory."""
    name = f"real-{arm.replace(', ', '-')}"
    typed = [
        *("+exp=smollm2", f"name={name}", f"seed={seed}", f"runtime.root={root}", "tracking=none"),
        *(
            "runtime.keep=iterations",
            f"model.path={model}",
            f"data.path={rows}",
            f"data.sources.{COLUMN}.heldout={rows / 'heldout.jsonl'}",
        ),
        *(f"data.sources.{COLUMN}.subset_seed={seed}", *ARMS[arm]),
        *(word for word in words if not ("method=none" in ARMS[arm] and word.startswith(TRAINED))),
    ]
    subprocess.run([sys.executable, str(REPOSITORY / "train.py"), *typed], check=True)
    return root / name / f"s{seed}" / slug(typed)


def measure(run: Path) -> dict[str, Any]:
    """Return what the experiment compares of a finished run.

    right: task -> a digit for each held-out row, 1 = the last model's answer is right. models: (evaluated model, right
    answers, rows). seconds: of all its stages, reused ones included.
    """
    stages, last = read_json(run / "stages.json"), find(run)
    records = [Store(run.parents[2] / "store").record(run.parents[2] / stage["dir"]) for stage in stages]
    versions = records[-1]["versions"]
    scored = [(row["label"], row["columns"][f"{SUITE}/{COLUMN}"]) for row in read_json(run / "summary.json")["scores"]]
    trained = [stage for stage in stages if KINDS[stage["kind"]].steps]
    return {
        "right": {
            task.partition("/")[2]: "".join(str(int(value)) for value in answers(last, SUITE, task).right)
            for task in last.records[SUITE]["columns"][COLUMN]["tasks"]
        },
        "models": [[label, column["count"], column["n"]] for label, column in scored],
        "steps": {stage["name"]: stage["summary"].get("steps", 0) for stage in trained},
        "pairs": {s["name"]: s["summary"]["pairs"] for s in stages if KINDS[s["kind"]].leaves == "judged"},
        "seconds": round(sum(stage["seconds"] for stage in stages)),
        "threads": versions["threads"],
        "machine": f"{platform.machine()}, {cores()} cores, {versions['device']}",
        "commit": read_json(run / "run.json")["git"]["sha"][:9],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.real", description=__doc__)
    parser.add_argument("model")
    for name in ("rows", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--trial", action="store_true", help="a few rows of one seed; results stay in WORK/trial")
    arguments = parser.parse_args()
    rows, work = (path.expanduser().absolute() for path in (arguments.rows, arguments.work))
    local = Path(arguments.model).expanduser()
    model = str(local.absolute()) if local.exists() else arguments.model
    folder, seeds, words = (work / "trial", SEEDS[:1], TRIAL) if arguments.trial else (FOLDER, SEEDS, ())
    work.mkdir(parents=True, exist_ok=True)
    if arguments.trial and not folder.exists():
        folder.mkdir()
        write_text(folder / "README.md", f"{BEGIN}\n{END}\n")
    results = folder / "results.jsonl"
    done = read_rows(results) if results.exists() else []
    for seed in seeds:
        for arm in ARMS:
            if any((row["arm"], row["seed"]) == (arm, seed) for row in done):
                continue
            run = train(arm, seed, model, rows, work / ("trial" if arguments.trial else "") / "runs", words)
            done.append({"arm": arm, "seed": seed, **measure(run)})
            with results.open("a") as output:
                output.write(json.dumps(done[-1]) + "\n")
            write_tables(done, folder)
    write_tables(done, folder)


def write_tables(done: Sequence[dict[str, Any]], folder: Path) -> None:
    """Replace the block of the folder's README.md by the tables of the runs so far."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    parts = [markdown_table(table) for table in (scores(done), differences(done), costs(done)) if len(table) > 1]
    tables = "\n\n".join(parts)
    write_text(readme, f"{head}{BEGIN}\n{tables}\n{END}{tail}")


def of_arm(done: Sequence[dict[str, Any]], arm: str) -> dict[int, dict[str, Any]]:
    """Return seed -> run."""
    return {row["seed"]: row for row in done if row["arm"] == arm}


def share(run: dict[str, Any]) -> float:
    """Return the share of right answers of a run's last model."""
    digits = "".join(run["right"].values())
    return digits.count("1") / len(digits)


def scores(done: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return header and a row per arm: the last model on all held-out rows, and all evaluated models of each seed."""
    tasks = list(done[0]["right"]) if done else []
    rows = [["arm, % of held-out rows", "n", "each seed", "mean", *tasks, "all models of each seed"]]
    for arm in ARMS:
        if runs := of_arm(done, arm):
            n = sum(map(len, runs[min(runs)]["right"].values()))
            seeds = ", ".join(f"{100 * share(run):.1f}" for run in runs.values())
            mean = f"{100 * statistics.mean(map(share, runs.values())):.1f}"
            means = (
                statistics.mean(r["right"][task].count("1") / len(r["right"][task]) for r in runs.values())
                for task in tasks
            )
            shown = (
                "; ".join(f"{label} {count} of {of}" for label, count, of in run["models"]) for run in runs.values()
            )
            rows.append([arm, str(n), seeds, mean, *(f"{100 * value:.1f}" for value in means), " / ".join(shown)])
    return rows


def differences(done: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return header and a row per reference: memphis minus it on the same held-out rows, in points."""
    header = [
        "memphis minus",
        "n",
        "each seed",
        "mean",
        "95 % over seeds",
        "could detect",
        "95 % over rows",
        "could detect",
    ]
    found = [header]
    mine = of_arm(done, MEMPHIS)
    for arm in REFERENCES:
        theirs = of_arm(done, arm)
        if not (seeds := sorted(mine.keys() & theirs.keys())):
            continue
        over_seeds = paired({s: share(mine[s]) for s in seeds}, {s: share(theirs[s]) for s in seeds})
        assert over_seeds is not None
        strata = [
            [
                statistics.mean(int(mine[s]["right"][t][i]) - int(theirs[s]["right"][t][i]) for s in seeds)
                for i in range(n)
            ]
            for t, n in ((task, len(digits)) for task, digits in mine[seeds[0]]["right"].items())
        ]
        drawn = sorted(bootstrap(strata, RESAMPLES, 0).tolist())
        low, high = drawn[round(0.025 * RESAMPLES)], drawn[round(0.975 * RESAMPLES) - 1]
        each = ", ".join(f"{100 * (share(mine[s]) - share(theirs[s])):+.1f}" for s in seeds)
        seeds_error = over_seeds.error or None
        found.append(
            [
                *(arm, str(sum(map(len, strata))), each, f"{100 * over_seeds.mean:+.1f}"),
                *(interval(over_seeds.low, over_seeds.high), detectable(seeds_error, over_seeds.n - 1)),
                *(interval(low, high), detectable(statistics.pstdev(drawn), math.inf)),
            ]
        )
    return found


def interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"


def detectable(error: float | None, freedom: float) -> str:
    """Format the true difference, in points, that is told from none in POWER of all repetitions (5 % level, two-sided).

    error: standard error. freedom: degrees of freedom of Student's t; infinite = the normal distribution.
    """
    from scipy.special import ndtri, stdtrit  # half a second

    if error is None:
        return "–"
    quantiles = [float(ndtri(q) if math.isinf(freedom) else stdtrit(freedom, q)) for q in (0.975, POWER)]
    return f"{100 * error * sum(quantiles):.1f}"


def costs(done: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return header and a row per arm: steps, pairs, time, threads, machine and code."""
    rows = [["arm", "seeds", "optimizer steps", "pairs", "time a seed", "threads", "machine", "code"]]
    for arm in ARMS:
        runs = list(of_arm(done, arm).values())
        if not runs:
            continue
        listed = [", ".join(map(str, run[key].values())) or "–" for key in ("steps", "pairs") for run in runs]
        said = {key: "; ".join(sorted({run[key] for run in runs})) for key in ("threads", "machine", "commit")}
        rows.append(
            [
                *(arm, ", ".join(str(run["seed"]) for run in runs)),
                *(" / ".join(listed[: len(runs)]), " / ".join(listed[len(runs) :])),
                *(duration(statistics.mean(run["seconds"] for run in runs)), *said.values()),
            ]
        )
    return rows


if __name__ == "__main__":
    main()
