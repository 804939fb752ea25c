"""Report on finished runs: at the end of a run, at the end of a multirun, or over any runs.

python -m experiments.report RUNS… [--baseline ARM] [--out DIR]     compare: report.html, report.md, results.csv, .json
python -m experiments.report RUNS… --save experiments/<folder>      the committed results of a question
python -m experiments.report RUNS… --wandb [--publish]              the ablations as a W&B report: its JSON, or its page
python -m experiments.report --check                                do README, CSV and figure follow from results.json?
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.report import figures, folders, page, plots, samples, tables, text
from experiments.report.arms import CONTROL, Comparison, along, group
from experiments.report.results import find_runs, read_run
from experiments.report.statistics import Difference
from memphis.config.methods import CHOICES, LOSS_KEYS
from memphis.errors import MemphisError
from memphis.formatting import printable
from memphis.store import digest, read_json

QUESTIONS = 64  # in the sample browser of a run; half as many for a comparison, with shorter texts
CHARS = 1_500  # of one text there

Places = dict[str, Path]


def finish(run_dir: Path) -> str:
    """Write report.html, results.md, results.csv, accuracy.svg and samples.md (the last two only if the run has numbers
    for them) into `run_dir`; returns the text that ends the run on the terminal."""
    summary = read_json(run_dir / "summary.json")
    scores = [row for row in summary["scores"] if row["columns"]]
    stages, paths = _built(run_dir)
    title = f"{summary['name']}, seed {summary['seed']}, {summary['slug']}: {summary['status']}"
    run = read_run(run_dir)
    answers = samples.answers(stages, paths)
    said = _said(run, stages, paths, answers)
    change = samples.find_change(answers)
    following = text.next_command(run)

    parts = [f"# {title}", *([text.markdown_scores(scores)] if scores else ["No evaluation was asked for."])]
    written = ["report.html", "results.md", "results.csv"]
    if scores:
        (run_dir / "accuracy.svg").write_text(plots.standalone(figures.accuracy_of_run(run, None)), encoding="utf-8")
        written.append("accuracy.svg")
        parts += [*filter(None, [said["note"]]), "![Accuracy by iteration](accuracy.svg)"]
    if change is not None:
        (run_dir / "samples.md").write_text(samples.samples_page(title, change), encoding="utf-8")
        written.append("samples.md")
        parts.append(f"{change.sentence()}. [Three of them](samples.md).")
    if (run_dir / "model").is_dir():
        written.append("model/")
    parts += [f"Time: {said['time']}.", f"Cost: {said['cost']}.", f"Worth trying next: `{following}`"]
    parts.append(text.stage_table(stages))
    (run_dir / "results.md").write_text(printable("\n\n".join(parts)) + "\n", encoding="utf-8")
    (run_dir / "results.csv").write_text(tables.as_csv(group([run])), encoding="utf-8")
    _write_page(run_dir, run, said, answers, _beside(run_dir))

    lines = ["", title, *(["", *text.terminal_scores(scores)] if scores else []), ""]
    facts = [(name, said[name]) for name in ("note", "changed", "time", "cost")]
    facts += [("written", f"{_short(run_dir)}: {', '.join(written[1:])}"), ("try next", following)]
    facts.append(("report", _short(run_dir / "report.html")))
    lines += [f"{name:<9} {value}" for name, value in facts if value]
    return printable("\n".join(lines))


def compare(paths: Sequence[Path]) -> str:
    """Compare the runs of a multirun, in `<root>/comparisons/`. Returns the table and the path of the report; "" for
    fewer than two runs."""
    there = [path for path in dict.fromkeys(paths) if (path / "stages.json").is_file()]
    if len(there) < 2:
        return ""
    try:
        found = [(read_run(path), path) for path in there]
        for run, path in found:  # once more, now that the control exists
            stages, places = _built(path)
            answers = samples.answers(stages, places)
            _write_page(path, run, _said(run, stages, places, answers), answers, [other for other, _ in found])
        comparison, places = collect(found)
        out = _place_of(there)
        write(comparison, places, out)
        return f"{tables.terminal(comparison)}\n\nreport    {_short(out / 'report.html')}"
    except (MemphisError, OSError) as fault:
        return printable(f"no comparison: {fault}")


def collect(found: Sequence[tuple[dict[str, Any], Path]], baseline: str | None = None) -> tuple[Comparison, Places]:
    """Group runs by arm; return the comparison, and run key -> directory. With a single pair of runs an arm is compared
    with the baseline item by item."""
    comparison = group([run for run, _ in found], baseline)
    places = {run["key"]: path for run, path in found}
    reference = comparison.arm(comparison.baseline).complete
    for arm in comparison.arms:
        shared = sorted(arm.complete.keys() & reference.keys())
        if arm.label != comparison.baseline and len(shared) == 1:
            pair = [places[one[shared[0]]["key"]] for one in (reference, arm.complete)]
            comparison.items[arm.label] = _items(*pair)
    return comparison, places


def write(comparison: Comparison, places: Places, out: Path) -> None:
    """Write report.html, report.md, results.csv and results.json of a comparison into `out`."""
    names = sorted({places[run["key"]].parents[1].name for arm in comparison.arms for run in arm.runs})
    title = f"{', '.join(names)}: {len(comparison.arms)} arms compared"
    out.mkdir(parents=True, exist_ok=True)
    html = page.comparison_page(comparison, title, _browser(comparison, places))
    (out / "report.html").write_text(html, encoding="utf-8")
    drawings = figures.of_folder(comparison)
    picture = "\n\n![Results](figure.svg)" if drawings else ""
    if drawings:
        (out / "figure.svg").write_text(plots.standalone(drawings), encoding="utf-8")
    page_text = f"# {printable(title)}\n\n{folders.markdown(comparison)}{picture}\n"
    (out / "report.md").write_text(page_text, encoding="utf-8")
    (out / "results.csv").write_text(tables.as_csv(comparison), encoding="utf-8")
    (out / "results.json").write_text(folders.dumps(comparison), encoding="utf-8")


def _built(run_dir: Path) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """Return the built stages of a run, and their directories by name."""
    stages = [stage for stage in read_json(run_dir / "stages.json") if stage["built"]]
    return stages, {stage["name"]: run_dir.parents[2] / stage["dir"] for stage in stages}


def _said(
    run: dict[str, Any], stages: list[dict[str, Any]], paths: Places, answers: samples.Answers | None
) -> dict[str, str]:
    change = samples.find_change(answers)
    return {
        "note": " ".join(text.notes(stages, paths)),
        "changed": change.sentence() if change else "",
        "time": text.time_line(stages, run["wall_s"]) if run["wall_s"] is not None else "",
        "cost": text.cost_line(run["method"], stages),
    }


def _write_page(
    run_dir: Path,
    run: dict[str, Any],
    said: dict[str, str],
    answers: samples.Answers | None,
    others: Iterable[dict[str, Any]],
) -> None:
    """Write report.html of a run. others: runs among which its control may be."""
    control = next((other for other in others if _controls(other, run)), None)
    html = page.run_page(run, control, samples.browser(answers, QUESTIONS, CHARS), said)
    (run_dir / "report.html").write_text(html, encoding="utf-8")


def _controls(other: dict[str, Any], run: dict[str, Any]) -> bool:
    """True if `other` is complete, is the control, and differs from `run` in the method alone."""
    if not (other["complete"] and other["method"] == CONTROL != run["method"] and other["seed"] == run["seed"]):
        return False
    mine, theirs = run["config"], other["config"]
    keys = (mine.keys() | theirs.keys()) - set(CHOICES) - (LOSS_KEYS - (mine.keys() & theirs.keys()))
    return all(mine.get(key) == theirs.get(key) for key in keys)


def _beside(run_dir: Path) -> Iterator[dict[str, Any]]:
    """Yield runs of the same name and seed that continue SFT."""
    for file in sorted(run_dir.parent.glob("*/config.yaml")):
        if file.parent != run_dir and "continued: true" in file.read_text(encoding="utf-8"):  # cheaper than parsing all
            yield read_run(file.parent)


def _browser(comparison: Comparison, places: Places) -> dict[str, Any] | None:
    """Return answers of the last models, of the lowest seed that every arm has complete; None if there is none."""
    seeds = set.intersection(*(set(arm.complete) for arm in comparison.arms))
    models: dict[str, Any] = {}
    what = set()
    for arm in comparison.arms if seeds else []:
        found = samples.answers(*_built(places[arm.complete[min(seeds)]["key"]]))
        if found is not None:
            what.add(found.what)
            models[arm.label] = list(found.models.values())[-1]
    if len(models) < 2 or len(what) > 1:
        return None
    answers = samples.Answers(f"{what.pop()}, seed {min(seeds)}", models)
    return samples.browser(answers, QUESTIONS // 2, CHARS // 2)


def _items(a: Path, b: Path) -> dict[str, Difference]:
    """Return B minus A by column, paired by question; {} if the answers are gone or the questions differ."""
    from eval import compare as paired  # imports numpy, which slows `--help` down
    from eval.records import find

    try:
        found = [whole for whole, *_ in paired.compare(find(a), find(b))]
    except MemphisError:
        return {}
    return {
        f"{one.suite}/{one.name}": Difference(one.difference, None, one.low, one.high, one.p, 1, items=True)
        for one in found
    }


def _place_of(paths: Sequence[Path]) -> Path:
    root = paths[0].parents[2]
    typed = sorted("/".join(path.parts[-3:]) for path in paths)
    return root / "comparisons" / f"{paths[0].parents[1].name}-{digest(typed)[:8]}"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


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
        _report(found, arguments)
    if arguments.wandb:
        _wandb_report(found, arguments)
    return 0


def _report(found: Sequence[tuple[dict[str, Any], Path]], arguments: argparse.Namespace) -> None:
    comparison, places = collect(found, arguments.baseline)
    print(tables.terminal(comparison).lstrip("\n"))
    if arguments.save is not None:
        print(f"\nwritten   {arguments.save}: {', '.join(folders.save(comparison, arguments.save))}")
    if arguments.out is not None or arguments.save is None:
        out = arguments.out or _place_of(list(places.values()))
        write(comparison, places, out)
        print(f"\nreport    {_short(out / 'report.html')}")


def _wandb_report(found: Sequence[tuple[dict[str, Any], Path]], arguments: argparse.Namespace) -> None:
    """Write the W&B report in a directory that follows from the names of the runs, so that the same page is found again
    with more of them. Without runs the report has no tables of theirs."""
    from experiments.report import wandb_report  # imports the benchmarks' table, which slows `--help` down

    names = sorted({run["name"] for run, _ in found})
    root = found[0][1].parents[2] if found else Path(os.environ.get("MEMPHIS_RUNS", "runs"))
    out = arguments.out or root / "comparisons" / "-".join(["wandb", *names])
    columns = list(group([run for run, _ in found]).columns) if found else []
    comparisons = {}
    for factor in wandb_report.FACTORS:
        chosen = {id(run) for run in along([run for run, _ in found], factor.key)}
        if chosen:
            comparisons[factor.sweep], _ = collect([pair for pair in found if id(pair[0]) in chosen])
    report = wandb_report.build(
        names,
        columns or wandb_report.BENCHMARKS,
        comparisons,
        entity=arguments.entity or "",
        project=arguments.project,
    )
    print(f"W&B       {_short(wandb_report.write(report, out))}")
    if arguments.publish:
        print(f"published {wandb_report.publish(report, out)}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MemphisError as fault:
        sys.exit(f"error: {fault}")
