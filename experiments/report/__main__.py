"""Report on finished runs: compare runs, save committed results, check them, build the W&B report.

python -m experiments.report RUNS… [--baseline ARM] [--out DIR]     compare: report.html, report.md, results.csv, .json
python -m experiments.report RUNS… --save experiments/<folder>      the committed results of a question
python -m experiments.report RUNS… --wandb [--publish]              the ablations as a W&B report: its JSON, or its page
python -m experiments.report --check                                do README, CSV and figure follow from results.json?
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.report import collect, folders, short, tables, write
from experiments.report.arms import along, group
from experiments.report.results import find_runs, read_run
from memphis.errors import MemphisError, run_command


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUNS", help="run directories, or directories above runs")
    parser.add_argument("--baseline", metavar="ARM", help="the arm that others are compared with; default: the control")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: <root>/comparisons/<name>-<hash>")
    parser.add_argument(
        "--save", type=Path, metavar="FOLDER", help="results.json, README block, CSV and figure of a folder"
    )
    parser.add_argument(
        "--check", action="store_true", help="compare every experiments/*/results.json with what it made"
    )
    parser.add_argument("--wandb", action="store_true", help="build the W&B report of the three ablations")
    parser.add_argument("--publish", action="store_true", help="save it at W&B; again: the same page is updated")
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY"), help="its user or team at W&B")
    parser.add_argument("--project", default="memphis", help="its project, that of the runs (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.check:
        drifted = folders.check(Path(__file__).parents[1])
        print("\n".join(drifted) or "all folders are what their results.json says")
        return int(bool(drifted))
    if not (arguments.runs or arguments.wandb):
        parser.error("RUNS: name at least one run directory, or --wandb, or --check")
    if arguments.publish and not arguments.wandb:
        parser.error("--publish: only with --wandb")
    if arguments.publish and not arguments.entity:
        raise MemphisError(
            "--entity: nobody is named to publish for; add --entity=<W&B user or team>, or set WANDB_ENTITY"
        )
    found = [(read_run(path), path) for path in find_runs(arguments.runs)]
    if found:
        comparison, places = collect(found, arguments.baseline)
        print(tables.terminal(comparison).lstrip("\n"))
        if arguments.save is not None:
            print(f"\nwritten   {arguments.save}: {', '.join(folders.save(comparison, arguments.save))}")
        if arguments.out is not None or arguments.save is None:
            print(f"\nreport    {short(write(comparison, places, arguments.out))}")
    if arguments.wandb:
        _wandb_report(found, arguments)
    return 0


def _wandb_report(found: Sequence[tuple[dict[str, Any], Path]], arguments: argparse.Namespace) -> None:
    """Write the W&B report in a directory that follows from the names of the runs, so that the same page is found again
    with more of them. Without runs the report has no tables of theirs."""
    from experiments.report import wandb_report  # imports the benchmarks' table, which slows `--help` down

    runs = [run for run, _ in found]
    names = sorted({run["name"] for run in runs})
    root = found[0][1].parents[2] if found else Path(os.environ.get("MEMPHIS_RUNS", "runs"))
    out = arguments.out or root / "comparisons" / "-".join(["wandb", *names])
    comparisons = {}
    for factor in wandb_report.FACTORS:
        chosen = {id(run) for run in along(runs, factor.key)}
        if chosen:
            comparisons[factor.sweep], _ = collect([pair for pair in found if id(pair[0]) in chosen])
    report = wandb_report.build(
        names,
        (list(group(runs).columns) if runs else []) or wandb_report.BENCHMARKS,
        comparisons,
        entity=arguments.entity or "",
        project=arguments.project,
    )
    print(f"W&B       {short(wandb_report.write(report, out))}")
    if arguments.publish:
        print(f"published {wandb_report.publish(report, out)}")


if __name__ == "__main__":
    run_command(main)
