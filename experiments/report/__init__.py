"""Reports of what runs have found: at the end of a run, at the end of a multirun, and over any runs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.report import figures, folders, page, plots, samples, tables, text
from experiments.report.arms import CONTROL, Comparison, group
from experiments.report.results import read_run
from experiments.report.statistics import Difference
from experiments.report.templating import render
from memphis.config.methods import CHOICES, LOSS_KEYS
from memphis.errors import MemphisError
from memphis.formatting import printable
from memphis.store import digest, read_json

QUESTIONS = 64  # in the sample browser of a run; half as many for a comparison, with shorter texts
CHARS = 1_500  # of one text there


class _Ended:
    """Run directory as its report needs it: what was read of it, its built stages, what its models answered."""

    def __init__(self, path: Path, run: dict[str, Any]) -> None:
        self.path, self.run = path, run
        self.stages, paths = _built(path)
        self.answers = samples.answers(self.stages, paths)
        self.change = samples.find_change(self.answers)
        wall_s = self.run["wall_s"]
        self.facts = {
            "note": " ".join(text.notes(self.stages, paths)),
            "changed": self.change.sentence() if self.change else "",
            "time": text.time_line(self.stages, wall_s) if wall_s is not None else "",
            "cost": text.cost_line(self.run["method"], self.stages),
            "rows": text.rows_line(self.stages),
        }

    def write_page(self, others: Iterable[dict[str, Any]]) -> None:
        """Write report.html. others: runs among which its control may be."""
        control = next((other for other in others if _controls(other, self.run)), None)
        html = page.run_page(self.run, control, samples.browser(self.answers, QUESTIONS, CHARS), self.facts)
        (self.path / "report.html").write_text(html, encoding="utf-8")


def finish(run_dir: Path) -> str:
    """Write report.html, results.md, results.csv, accuracy.svg and samples.md (the last two only if the run has numbers
    for them) into `run_dir`; returns the text that ends the run on the terminal."""
    summary = read_json(run_dir / "summary.json")
    scores = [row for row in summary["scores"] if row["columns"]]
    title = f"{summary['name']}, seed {summary['seed']}, {summary['slug']}: {summary['status']}"
    run = read_run(run_dir)
    ended = _Ended(run_dir, run)
    facts = ended.facts
    following = text.next_command(run)

    table = text.markdown_scores(scores) if scores else ""
    files = {
        "results.md": render(
            "results.md", title=title, scores=table, facts=facts, following=following, stages=ended.stages
        ),
        "results.csv": tables.as_csv(group([run])),
    }
    if scores:
        files["accuracy.svg"] = plots.standalone(figures.accuracy_of_run(run, None))
    if ended.change is not None:
        chosen = samples.choose(ended.change)
        files["samples.md"] = render("samples.md", title=title, change=ended.change, chosen=chosen)
    for name, content in files.items():
        (run_dir / name).write_text(content, encoding="utf-8")
    beside = (
        file.parent
        for file in sorted(run_dir.parent.glob("*/config.yaml"))  # of the same name and seed
        if file.parent != run_dir and "continued: true" in file.read_text(encoding="utf-8")  # cheaper than parsing all
    )
    ended.write_page(map(read_run, beside))

    written = [*files, *(["model/"] if (run_dir / "model").is_dir() else [])]
    lines = ["", title, *(["", *text.terminal_scores(scores)] if scores else []), ""]
    shown = {
        **{"note": facts["note"], "changed": facts["changed"], "time": facts["time"], "cost": facts["cost"]},
        **{"written": f"{short(run_dir)}: {', '.join(written)}", "try next": following},
        "report": short(run_dir / "report.html"),
    }
    lines += [f"{name:<9} {value}" for name, value in shown.items() if value]
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
            _Ended(path, run).write_page(other for other, _ in found)
        comparison, places = collect(found)
        return f"{tables.terminal(comparison)}\n\nreport    {short(write(comparison, places))}"
    except (MemphisError, OSError) as fault:
        return printable(f"no comparison: {fault}")


def collect(
    found: Sequence[tuple[dict[str, Any], Path]], baseline: str | None = None
) -> tuple[Comparison, dict[str, Path]]:
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


def write(comparison: Comparison, places: dict[str, Path], out: Path | None = None) -> Path:
    """Write report.html, report.md, results.csv and results.json of a comparison; return the path of the page.

    out: directory; by default it follows from the names of the runs.
    """
    paths = list(places.values())
    if out is None:
        typed = sorted("/".join(path.parts[-3:]) for path in paths)
        out = paths[0].parents[2] / "comparisons" / f"{paths[0].parents[1].name}-{digest(typed)[:8]}"
    names = sorted({places[run["key"]].parents[1].name for run in comparison.runs})
    title = f"{', '.join(names)}: {len(comparison.arms)} arms compared"
    drawings = figures.of_folder(comparison)
    picture = "\n\n![Results](figure.svg)" if drawings else ""
    files = {
        "report.html": page.comparison_page(comparison, title, _browser(comparison, places)),
        "report.md": f"# {printable(title)}\n\n{folders.markdown(comparison)}{picture}\n",
        "results.csv": tables.as_csv(comparison),
        "results.json": folders.dumps(comparison),
    }
    if drawings:
        files["figure.svg"] = plots.standalone(drawings)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_text(content, encoding="utf-8")
    return out / "report.html"


def _built(run_dir: Path) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """Return the built stages of a run, and their directories by name."""
    stages = [stage for stage in read_json(run_dir / "stages.json") if stage["built"]]
    return stages, {stage["name"]: run_dir.parents[2] / stage["dir"] for stage in stages}


def _controls(other: dict[str, Any], run: dict[str, Any]) -> bool:
    """True if `other` is complete, is the control, and differs from `run` in the method alone."""
    if not (other["complete"] and other["method"] == CONTROL != run["method"] and other["seed"] == run["seed"]):
        return False
    mine, theirs = run["config"], other["config"]
    keys = (mine.keys() | theirs.keys()) - set(CHOICES) - (LOSS_KEYS - (mine.keys() & theirs.keys()))
    return all(mine.get(key) == theirs.get(key) for key in keys)


def _browser(comparison: Comparison, places: dict[str, Path]) -> dict[str, Any] | None:
    """Return answers of the last models, of the lowest seed that every arm has complete; None if there is none."""
    seeds = set.intersection(*(set(arm.complete) for arm in comparison.arms))
    models: dict[str, Any] = {}
    tasks = set()
    for arm in comparison.arms if seeds else []:
        found = samples.answers(*_built(places[arm.complete[min(seeds)]["key"]]))
        if found is not None:
            tasks.add(found.what)
            models[arm.label] = list(found.models.values())[-1]
    if len(models) < 2 or len(tasks) > 1:
        return None
    return samples.browser(samples.Answers(f"{tasks.pop()}, seed {min(seeds)}", models), QUESTIONS // 2, CHARS // 2)


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


def short(path: Path) -> str:
    """Return a path for the terminal, relative where it is below the current directory."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
