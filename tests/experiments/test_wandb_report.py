"""Tests of the W&B report: built without a server, it shows what is logged; published twice, it is one page."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval import table
from experiments.report import wandb_report
from experiments.report.__main__ import main
from experiments.report.arms import along
from experiments.report.tables import COST_NOTE
from experiments.report.wandb_report import BENCHMARKS, FACTORS, FILE, VERSION, VIEW
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY
from memphis.store import read_json
from memphis.tracking import content
from tests.composing import compose_config
from tests.experiments import made_up
from tests.tracking.made_up import records
from tests.wandb_server import WandbServer


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Write a sweep of four SLERP factors and three rank weights, with one seed each."""
    root = tmp_path_factory.mktemp("runs")
    made_up.sweep(root, seeds=1)
    return root / "sweep"


def blocks(file: Path, kind: str) -> list[dict[str, Any]]:
    return [block for block in read_json(file)["blocks"] if block["type"] == kind]


def everything(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects of a JSON value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything(item)


def panels(grid: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = grid["metadata"]["panelBankSectionConfig"]["panels"]
    return [panel["config"] for panel in found if panel["viewType"] == kind]


def test_without_key_and_network_the_same_bytes_twice(sweep, tmp_path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise AssertionError("somebody wants to talk")

    monkeypatch.setattr("socket.socket.connect", refuse)
    for out in ("a", "b"):
        assert main([str(sweep), "--wandb", "--out", str(tmp_path / out)]) == 0
    one, other = ((tmp_path / out / FILE).read_bytes() for out in ("a", "b"))
    assert one == other
    assert f"W&B       {tmp_path / 'b' / FILE}" in capsys.readouterr().out
    assert (tmp_path / "a" / "report.html").exists()  # --wandb still makes the other files
    ids = [item[key] for item in everything(json.loads(one)) for key in ("id", "__id__") if key in item]
    assert len(set(ids)) == len(ids) > 20
    assert all(re.fullmatch(r"id\d+", one) for one in ids)


def test_numbered_ids_keep_what_belongs_together():
    found = wandb_report.numbered([{"id": "x8", "a": [{"__id__": "k"}]}, {"id": "x8", "b": {"id": None}}])
    assert found == [{"id": "id0", "a": [{"__id__": "id1"}]}, {"id": "id0", "b": {"id": None}}]


def test_a_grid_per_sweep_filtered_by_attributes_of_runs_and_grouped_by_a_flat_key(sweep, tmp_path):
    main([str(sweep), "--wandb", "--out", str(tmp_path)])
    *grids, whole = blocks(tmp_path / FILE, "panel-grid")
    for factor, grid in zip(FACTORS, grids, strict=True):
        (runs,) = grid["metadata"]["runSets"]
        assert filters(runs) == {
            "group": [factor.sweep],
            "jobType": "train",
            "state": "finished",
            "tags": ["sweep"],
        }
        assert [(key["section"], key["name"]) for key in runs["grouping"]] == [("config", f"{factor.flat}.value")]
        grouped = {panel["groupBy"] for kind in ("Run History Line Plot", "Bar Chart") for panel in panels(grid, kind)}
        assert grouped == {f"{factor.flat}.value"}
        params = yaml.safe_load((REPOSITORY / "conf" / "sweep" / f"{factor.sweep}.yaml").read_text())
        assert factor.key in params["hydra"]["sweeper"]["params"]
    (runs,) = whole["metadata"]["runSets"]
    assert filters(runs)["group"] == [factor.sweep for factor in FACTORS]
    assert runs["grouping"] == []


def filters(runs: dict[str, Any]) -> dict[str, Any]:
    found = [item for item in everything(runs["filters"]) if "key" in item]
    assert {item["key"]["section"] for item in found} == {"run"}
    assert all(item["op"] == ("IN" if isinstance(item["value"], list) else "=") for item in found)
    return {item["key"]["name"]: item["value"] for item in found}


def test_the_group_is_the_one_of_the_sweep_and_the_flat_keys_are_recorded():
    config, about = compose_config(), {"git": {"sha": None, "dirty": None}}
    for factor in FACTORS:
        assert content.group(config, about | {"overrides": ["seed=0", f"+sweep={factor.sweep}"]}) == factor.sweep
        assert factor.flat in content.factors(config, about)


def test_keys_are_on_the_axis_that_they_are_logged_on(sweep, tmp_path):
    main([str(sweep), "--wandb", "--out", str(tmp_path)])
    lines = [line for grid in blocks(tmp_path / FILE, "panel-grid") for line in panels(grid, "Run History Line Plot")]
    assert {line["xAxis"] for line in lines} == {"iteration", "global_step"}
    for line in lines:
        assert {key.split("/")[0] for key in line["metrics"]} <= set(content.AXES[line["xAxis"]]), line


@pytest.mark.slow
def test_what_it_asks_for_is_what_a_run_recorded(unbroken, tmp_path):
    (run,) = (unbroken / "micro").glob("s0/*")
    assert main([str(run), "--wandb", "--out", str(tmp_path)]) == 0
    grids = blocks(tmp_path / FILE, "panel-grid")
    kinds = ("Run History Line Plot", "Bar Chart", "Scalar Chart")
    queried = {key for grid in grids for kind in kinds for panel in panels(grid, kind) for key in panel["metrics"]}
    (parallel,), (scatter,) = (panels(grids[-1], kind) for kind in ("Parallel Coordinates Plot", "Scatter Plot"))
    axes = [column["accessor"] for column in parallel["columns"]] + [scatter["xAxis"], scatter["yAxis"]]
    queried |= {axis.removeprefix("summary:") for axis in axes if axis.startswith("summary:")}
    flat = {axis.removeprefix("config:").removesuffix(".value") for axis in axes if axis.startswith("config:")}
    assert len(axes) == 6
    summary = {key for record in records(run, "summary") for key in record["update"]}
    assert queried - summary == set()
    assert {"best/tiny/tiny_gen", "eval/tiny/tiny_mc/acc_norm", "rank/margin"} <= queried
    assert flat == {factor.flat for factor in FACTORS}
    recorded = records(run, "run")[0]
    assert flat <= recorded["config"]["update"].keys()
    wanted = filters(grids[0]["metadata"]["runSets"][0])
    assert wanted["jobType"] == recorded["job_type"]
    assert set(wanted["tags"]) <= set(recorded["tags"])


def test_the_tables_are_those_of_the_benchmarks_and_of_the_arms(sweep, tmp_path):
    main([str(sweep), "--wandb", "--out", str(tmp_path)])
    benchmarks, slerp, weight = (block["content"] for block in blocks(tmp_path / FILE, "markdown-block"))
    assert f"{table.BEGIN}\n{benchmarks}\n{table.END}" in (REPOSITORY / "README.md").read_text()
    for text, label, count in ((slerp, "slerp.t", 4), (weight, "rank.weight", 3)):
        assert len(re.findall(rf"^\| {label}=[\d.]+ \|", text.split("\n\n")[1], re.M)) == count
        assert COST_NOTE in text
    assert "iterations=" not in slerp + weight  # nothing varies it here, hence no table


def test_without_runs_it_shows_the_benchmarks_of_all_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMPHIS_RUNS", str(tmp_path))
    assert main(["--wandb"]) == 0
    file = tmp_path / "comparisons" / "wandb" / FILE
    assert len(blocks(file, "markdown-block")) == 1
    *grids, _ = blocks(file, "panel-grid")
    for grid in grids:
        assert [bar["metrics"] for bar in panels(grid, "Bar Chart")] == [[f"final/{column}"] for column in BENCHMARKS]
        assert "tags" not in filters(grid["metadata"]["runSets"][0])


def test_runs_along_a_factor_differ_in_nothing_else():
    settings = [(0.5, 1, 0), (0.5, 1, 1), (0.9, 1, 0), (0.9, 0, 0), (0.99, 1, 0), (0.5, 2, 0), (0.9, 2, 0)]
    runs = [{"config": {"slerp.t": t, "rank.weight": w, "seed": s}, "seed": s} for t, w, s in settings]
    assert along(runs, "slerp.t") == [runs[k] for k in (0, 1, 2, 4)]  # three values at weight 1, two at weight 2
    assert along(runs, "rank.weight") == [runs[k] for k in (2, 3, 6)]
    assert along([*runs[5:], *runs[:3]], "slerp.t") == runs[:3]  # two sets of two values: the one of three runs
    assert along(runs, "iterations") == along([], "slerp.t") == along(runs[:2], "slerp.t") == []


def publish(out: Path, server: WandbServer, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "experiments.report", "--wandb", "--publish", "--out", str(out)]
    environment = {**os.environ, **server.environment}
    return subprocess.run(
        [*command, *more], capture_output=True, text=True, cwd=REPOSITORY, env=environment, timeout=300, check=False
    )


@pytest.mark.slow
def test_published_twice_it_is_one_page(tmp_path, wandb_server, monkeypatch):
    monkeypatch.setenv("WANDB_ENTITY", "nobody")
    first, again = (publish(tmp_path, wandb_server) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert wandb_server.view_saves == 2
    (view,) = wandb_server.views.values()
    assert wandb_report.numbered(json.loads(view["spec"])) == read_json(tmp_path / FILE)
    assert view["displayName"] == "Three ablations of memphis"
    for done in (first, again):
        address = f"{wandb_server.url}/nobody/memphis/reports/Three-ablations-of-memphis--{view['id']}"
        assert done.stdout.splitlines()[-1] == f"published {address}"
    other = publish(tmp_path, wandb_server, "--project", "other")  # a page belongs to a project
    assert other.returncode == 0, other.stderr
    assert [view["project"]["name"] for view in wandb_server.views.values()] == ["memphis", "other"]
    assert wandb_server.unknown == []


def test_what_the_server_refuses_is_one_line(tmp_path, wandb_server, monkeypatch):
    monkeypatch.setattr(wandb_server, "_answer_upsertView", None, raising=False)
    done = publish(tmp_path, wandb_server, "--entity", "nobody")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --publish: W&B did not take the report (")
    assert "no such operation" in line
    assert (tmp_path / FILE).exists()
    assert not (tmp_path / VIEW).exists()


def test_a_missing_entity_or_package_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMPHIS_RUNS", str(tmp_path))
    with pytest.raises(MemphisError, match=r"^--entity: .* add --entity=<W&B user or team>"):
        main(["--wandb", "--publish"])
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(MemphisError, match=rf"^--wandb: .*pip install wandb-workspaces=={re.escape(VERSION)}$"):
        main(["--wandb"])


def test_the_version_whose_private_method_is_called_is_the_one_installed():
    assert version("wandb-workspaces") == VERSION
    assert f"wandb-workspaces=={VERSION}\n" in (REPOSITORY / "requirements-dev.txt").read_text()
