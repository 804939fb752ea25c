"""Build the three ablations as a W&B report: tables of the runs that are here, panels that W&B fills from its own runs.

The only module that imports wandb-workspaces. Building needs neither an account nor a network; `publish` alone does.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval import table
from eval.suites import ACCURACY, HELDOUT, find_suite
from eval.table_rows import RESULTS, SUITE_TITLES, our_rows, read_reference
from experiments.report import folders
from experiments.report.arms import Comparison
from memphis.errors import MemphisError
from memphis.privacy import masked
from memphis.store import read_json, write_json

VERSION = "0.4.13"  # of wandb-workspaces; pinned, as `write` calls a private method
FILE, VIEW = "wandb_report.json", "wandb_view.json"


@dataclass(frozen=True)
class Factor:
    """Factor of an ablation. sweep: its file in conf/sweep, hence the W&B group of its runs. key: what it varies."""

    sweep: str
    key: str
    title: str

    @property
    def flat(self) -> str:
        """Key at the top level of a run's W&B config, as groupings of nested keys are ambiguous there."""
        return self.key.replace(".", "_")


FACTORS = (
    Factor("slerp_factor", "slerp.t", "SLERP factor"),
    Factor("rank_weight", "rank.weight", "Rank weight"),
    Factor("iterations", "iterations", "Iteration count"),
)
BENCHMARKS = [f"{suite}/{column.name}" for suite in SUITE_TITLES for column in find_suite(suite).columns]


def build(
    names: Sequence[str],
    columns: Sequence[str],
    comparisons: Mapping[str, Comparison],
    *,
    entity: str = "",
    project: str = "memphis",
) -> Any:
    """Build the report, an object of wandb-workspaces.

    names: of runs; only runs with one of them as tag are shown, without names all. columns: `suite/column` of
    the evaluations, the first one being what the panels over all runs show. comparisons: sweep -> what its runs found.
    Raises MemphisError when wandb-workspaces is not installed.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else wandb sends reports of its own
    try:
        import wandb_workspaces.reports.v2 as wr
    except ImportError as error:
        cure = f"pip install wandb-workspaces=={VERSION}"
        raise MemphisError(f"--wandb: the package wandb-workspaces is missing; {cure}") from error
    reference = read_reference()
    rows = [*reference.rows, *our_rows(table.collect(RESULTS, []), reference)]
    blocks = [wr.TableOfContents(), wr.H1("Benchmarks"), wr.MarkdownBlock(table.markdown(rows, reference))]
    for factor in FACTORS:
        blocks.append(wr.H1(factor.title))
        if factor.sweep in comparisons:
            blocks.append(wr.MarkdownBlock(folders.markdown(comparisons[factor.sweep])))
        runs = _runset(wr, factor.title, [factor.sweep], names, groupby=[f"config.{factor.flat}"])
        blocks.append(wr.PanelGrid(runsets=[runs], panels=_of_factor(wr, factor, columns)))
    runs = _runset(wr, "All three", [factor.sweep for factor in FACTORS], names)
    blocks += [wr.H1("All three"), wr.PanelGrid(runsets=[runs], panels=_of_all(wr, columns[0]))]
    title = f"Three ablations of {', '.join(names) or 'memphis'}"
    return wr.Report(project=project, entity=entity, title=title[:128], blocks=blocks, width="fluid")


def _runset(wr: Any, title: str, groups: list[str], names: Sequence[str], groupby: Sequence[str] = ()) -> Any:
    """Select runs that finished, so that no mean has an unfinished one. Filters use run attributes only, because config
    keys are written differently in filters and in groupings. Without entity and project it is the report's own project,
    whose id need not be requested."""
    wanted = [f"Metric('Group') in {groups}", "Metric('JobType') == 'train'", "Metric('State') == 'finished'"]
    wanted += [f"Tags() in {list(names)}"] if names else []
    return wr.Runset(name=title, filters=" and ".join(wanted), groupby=list(groupby))


def _of_factor(wr: Any, factor: Factor, columns: Sequence[str]) -> list[Any]:
    """Return curves and bars with one colour per value of the factor: mean over seeds, ± standard error."""
    how = {"groupby": wr.Config(factor.flat), "groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}
    scores = []  # as evaluations log them: with the metric's name, such as `exact_match`
    for column in columns:
        suite, _, name = column.partition("/")
        scores += [f"eval/{column}/{found.metric}" for found in find_suite(suite).columns if found.name == name]
        scores += [f"eval/{column}/{ACCURACY}"] if suite == HELDOUT.name else []
    curves = {
        "iteration": ["gen/pass@1", "merge/drift_sft", *scores],
        "global_step": ["rank/loss", "rank/margin"],
    }
    bars = [wr.BarPlot(title=f"{column}, last model", metrics=[f"final/{column}"], **how) for column in columns]
    return bars + [wr.LinePlot(title=key, x=axis, y=[key], **how) for axis, keys in curves.items() for key in keys]


def _of_all(wr: Any, column: str) -> list[Any]:
    axes = [*(wr.Config(factor.flat) for factor in FACTORS), f"final/{column}"]
    return [
        wr.ScalarChart(title=f"{column}, best model of all runs", metric=f"best/{column}", groupby_aggfunc="max"),
        wr.ParallelCoordinatesPlot(
            title=f"{column} by factor", columns=[wr.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes]
        ),
        wr.ScatterPlot(title="Distance from SFT and accuracy", x="merge/drift_sft", y=f"final/{column}"),
        wr.RunComparer(diff_only=True, layout=wr.Layout(w=24, h=12)),
    ]


def numbered(value: Any, numbers: dict[str, str] | None = None) -> Any:
    """Copy a report's JSON with every id replaced by the position of its first use."""
    numbers = {} if numbers is None else numbers
    if isinstance(value, list):
        return [numbered(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(item, f"id{len(numbers)}")
        if key in ("id", "__id__") and isinstance(item, str)
        else numbered(item, numbers)
        for key, item in value.items()
    }


def write(report: Any, directory: Path) -> Path:
    """Write wandb_report.json, which is what `report.save()` would send: the same bytes for the same runs."""
    # `_to_model` is private to wandb-workspaces and the only way to it: a test checks that VERSION is installed.
    spec = json.loads(report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / FILE, numbered(spec))
    return directory / FILE


def publish(report: Any, directory: Path) -> str:
    """Save the report at W&B, and the view's id in `directory`: the next time that view is updated. Returns its URL.

    Raises MemphisError when W&B refuses or cannot be reached.
    """
    file, place = directory / VIEW, {"entity": report.entity, "project": report.project}
    before = read_json(file) if file.exists() else {}
    if all(before.get(key) == value for key, value in place.items()):
        report.id = before["id"]
    try:
        report.save()
    except Exception as error:  # the SDK's own, those of its transport, and plain ones
        reason = " ".join(masked(f"{type(error).__name__}: {error}").split())
        cure = f"; if that page was deleted, remove {file}" if report.id else ""
        raise MemphisError(
            f"--publish: W&B did not take the report ({reason}); mend that, then publish again{cure}"
        ) from error
    write_json(file, {**place, "id": report.id})
    return str(report.url)
