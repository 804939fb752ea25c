"""Tests of sweeps: runs as Hydra makes them, the graph counted by hand, runs that stay frozen, one-line errors."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from experiments.grid import __main__ as grids
from experiments.grid import frozen as sweeps
from experiments.grid.frozen import SweepRun
from experiments.grid.graph import Graph
from memphis import config
from memphis.config.words import check
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY
from memphis.store import Stage, finish
from memphis.store.claims import Claim
from memphis.tracking import content
from tests import commands, micro
from tests.composing import compose_config, options

DEFAULTS = (0.99, 0.25, 3)  # slerp.t, rank.weight, iterations
T, WEIGHT, ITERATIONS = (0, 0.01, 0.5, 0.9, 0.99, 1), (0, 0.1, 0.25, 1), (0, 1, 2, 3, 4)  # of the three ablations


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMPHIS_RUNS", str(tmp_path / "runs"))


def enumerate_runs(*overrides: str) -> list[SweepRun]:
    return sweeps.enumerate_runs(list(overrides))[0]


def program(*words: str, path: str | None = None) -> "subprocess.CompletedProcess[str]":
    environment = micro.environment(Path(os.environ["MEMPHIS_RUNS"]), **({"PATH": path} if path else {}))
    return commands.run("-m", "experiments.grid", *words, cwd=REPOSITORY, env=environment)


def pretend(stages: list[Stage], run: SweepRun) -> None:
    """Mark stages as finished without running them."""
    run.store.create()
    for stage in stages:
        path = run.store.publish(stage)
        claim = Claim(path)
        assert claim.acquire(lambda path=path: run.store.fault(path) is None)
        (claim.part / "model").mkdir()
        (claim.part / "model" / "w").write_text("w")
        (claim.part / "metrics.jsonl").write_text("")
        finish(claim, stage.spec(), {"steps": 1, "tokens": 1}, 0.1, {})
        claim.release()


# --------------------------------------------------------------------------------------------------- which runs there are


def test_arms_are_the_product_and_each_is_what_compose_makes_of_it() -> None:
    """Compare with Hydra: values set on a copy of the composed groups must give the config composed in one go."""
    swept = {"method": ["memphis", "star"], "seed": ["0", "1"], "rank.optim.lr": ["0.001", "0.02"]}
    fixed = [
        "+exp=memphis_cot",
        "eval.seeds=[0,1]",
        "~data.sources.oasst2=null",
        "eval=none",
        "rank.neftune={alpha:2.0}",
    ]
    typed = [*(f"{key}={','.join(values)}" for key, values in swept.items()), *fixed]
    expected = [
        [*(f"{key}={value}" for key, value in zip(swept, values, strict=True)), *fixed]
        for values in itertools.product(*swept.values())
    ]
    runs = enumerate_runs(*typed)
    assert [config.slug(run.overrides) for run in runs] == [config.slug(words) for words in expected]
    for run, words in zip(runs, expected, strict=True):
        assert run.cfg == compose_config(*words)


def test_hydra_composes_once_per_choice_of_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count compositions, 0.2 s each: 360 runs of one choice need one. Seconds: `python -m benchmarks limits`."""
    calls = []
    original = ConfigLoaderImpl.load_configuration

    def load(self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], **how: Any) -> Any:
        calls.append(overrides)
        return original(self, config_name, overrides, **how)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", load)
    assert len(enumerate_runs("method=memphis,star", "seed=0,1", "rank.optim.lr=0.001,0.01,0.02")) == 12
    assert len(calls) == 1 + 2  # the overrides as typed, and each method


@pytest.mark.parametrize("name", options("sweep"))
def test_every_sweep_composes_with_every_seed(name: str) -> None:
    extra = {"ce_target": ["data.sources.tiny.train=1500"]}.get(name, [])
    from omegaconf import OmegaConf

    params: Any = OmegaConf.load(REPOSITORY / "conf" / "sweep" / f"{name}.yaml").hydra.sweeper.params
    count = 1
    for values in params.values():
        count *= len(str(values).split(","))
    runs = enumerate_runs(f"+sweep={name}", "seed=0,1", *extra)
    assert len(runs) == 2 * count
    assert not [word for run in runs for word in run.overrides if "sweep" in word]  # a frozen run has no sweep override


def test_gold_needs_as_many_rationales_as_questions() -> None:
    with pytest.raises(
        MemphisError, match=r"rank.ce_target=gold: .*exceeds data.sources.tiny.train=100(.|\n)*in 1 of 2"
    ):
        enumerate_runs("+sweep=ce_target")


def unique_stages(points: list[tuple[float, float, int]], seeds: int) -> Counter[str]:
    """Count stages by dependencies, for `eval.at=final`. Cycle k depends on (t, weight) once a merge came before."""
    found = set()
    for (t, weight, iterations), seed in itertools.product(points, range(seeds)):
        found |= {("data",), ("base",), ("sft", seed)}
        for k in range(1, iterations + 1):
            before = (seed, k) if k == 1 else (seed, k, t, weight)
            found |= {("generate", *before), ("pairs", *before)}
            found |= {("rank", seed, k, weight, t if k > 1 else None), ("merge", seed, k, weight, t)}
        found.add(("evaluate", seed, iterations, t, weight) if iterations else ("evaluate", seed))
    return Counter(str(stage[0]) for stage in found)


def test_star_design_of_39_arms(tmp_path: Path) -> None:
    points = {*((t, *DEFAULTS[1:]) for t in T), *((DEFAULTS[0], w, DEFAULTS[2]) for w in WEIGHT)}
    points |= {(*DEFAULTS[:2], n) for n in ITERATIONS}
    counts = unique_stages(sorted(points), seeds=3)
    assert [counts[kind] for kind in ("sft", "generate", "rank", "merge", "evaluate")] == [3, 60, 69, 84, 39]
    words = ["+exp=memphis_cot", "+sweep=slerp_factor,rank_weight,iterations", "seed=0,1,2", "--dry-run"]
    check_dry_run(words, runs=39, counts=counts)
    assert not (tmp_path / "runs").exists()


# 360 compositions and plans: 6 s of CPU time.
@pytest.mark.slow
def test_full_grid_of_360_arms() -> None:
    points = list(itertools.product(T, WEIGHT, ITERATIONS))
    axes = {"slerp.t": T, "rank.weight": WEIGHT, "iterations": ITERATIONS}
    words = [f"{key}={','.join(map(str, values))}" for key, values in axes.items()]
    counts = unique_stages(points, seeds=3)
    assert [counts[kind] for kind in ("sft", "generate", "rank", "merge", "evaluate")] == [3, 219, 228, 288, 291]
    check_dry_run(["+exp=memphis_cot", *words, "seed=0,1,2", "--dry-run"], runs=360, counts=counts)


def check_dry_run(words: list[str], runs: int, counts: Counter[str]) -> None:
    done = program(*words)
    assert done.returncode == 0, done.stderr
    summary = next(line for line in done.stdout.splitlines() if " arms" in line and " unique, " in line)
    assert summary.startswith(f"{runs} arms")
    assert f" {counts.total():,} unique, {counts.total():,} to run" in summary
    rows = {line.split()[0]: line.split()[2] for line in done.stdout.splitlines() if line.split()[0] in counts}
    assert rows == {kind: str(count) for kind, count in counts.items()}


def test_four_factors_and_two_seeds_have_sft_twice() -> None:
    stages = Graph(enumerate_runs("slerp.t=0.2,0.4,0.6,0.8", "seed=0,1")).stages.values()
    counts = Counter(stage.kind for stage in stages)
    assert (counts["data"], counts["base"], counts["sft"]) == (1, 1, 2)
    assert (len([s for s in stages if s.name == "rank-1"]), len([s for s in stages if s.name == "merge-1"])) == (2, 8)


@pytest.mark.parametrize(("at", "extra"), [("final", 2), ("every", 0)])
def test_fewer_iterations_cost_an_evaluation_each_at_most(at: str, extra: int) -> None:
    all_three, longest = (set(Graph(enumerate_runs(f"iterations={n}", f"eval.at={at}")).stages) for n in ("1,2,3", "3"))
    assert longest < all_three if extra else longest == all_three
    assert sorted(name.split("-")[0] for name in all_three - longest) == ["evaluate"] * extra


# --------------------------------------------------------------------------------------------------------- graph and jobs


def test_a_leg_is_a_stage_but_one_engine_serves_all_that_a_model_is_asked() -> None:
    graph = Graph(enumerate_runs("slerp.t=0.5,0.9", "iterations=2"))
    jobs = graph.jobs(set())
    built: set[str] = set()
    for job in jobs:
        assert job.inputs - {stage.directory for stage in job.stages} <= built  # inputs come first
        built |= {stage.directory for stage in job.stages}
    assert built == set(graph.stages)
    assert sum(len(job.stages) for job in jobs) == len(graph.stages)
    engines = [job for job in jobs if job.needs == "engine"]
    assert len({job.stages[0].inputs["model"].key for job in engines}) == len(engines)
    names = [[stage.name for stage in job.stages] for job in engines]
    assert ["generate-1", "evaluate-sft"] in names  # stages that others wait for come first
    assert names.count(["generate-2", "evaluate-1"]) == 2
    assert {job.stages[0].kind for job in jobs if job.needs == "train"} == {"base", "sft", "rank"}
    assert {job.stages[0].kind for job in jobs if job.needs == "cpu"} == {"data", "pairs", "merge"}


def test_a_checkpoint_that_is_only_looked_at_needs_no_gpu(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    jobs = Graph(enumerate_runs("method=none", "model=hf", f"model.path={tmp_path}", "eval=card")).jobs(set())
    assert [(job.stages[0].name, job.needs) for job in jobs] == [("base", "cpu"), ("evaluate-base", "engine")]


def test_what_is_built_or_queued_is_not_built_again() -> None:
    runs = enumerate_runs("slerp.t=0.5,0.9", "iterations=1", "eval=none")
    pretend([stage for stage in runs[0].stages if stage.kind != "merge"], runs[0])
    graph = Graph(runs)
    assert sorted(step.stage.name for step in graph.missing.values()) == ["merge-1", "merge-1"]
    first = runs[0].stages[-1].directory
    assert [job.stages[0].directory for job in graph.jobs({first})] == [runs[1].stages[-1].directory]
    assert graph.missing_of(runs[0]) == [first]


def test_half_copied_and_damaged_stages_are_named_and_built_again() -> None:
    (run,) = enumerate_runs("iterations=0", "eval=none")
    pretend(run.stages, run)
    data, base, sft = (run.store.path(stage) for stage in run.stages)
    (base / "DONE").unlink()  # copied in alphabetic order, and not to the end
    (sft / "model" / "w").write_text("")
    graph = Graph([run])
    assert set(graph.missing) == {base.name, sft.name}
    assert f"{sft.name} is there but cannot be used: model/w has 0 bytes, was written with 1; it is built" in (
        graph.describe()
    )
    assert data.name not in graph.describe()


def test_weights_that_a_grid_has_yet_to_read_are_kept() -> None:
    runs = enumerate_runs("slerp.t=0.5,0.9", "iterations=1", "eval=none", "runtime.keep=iterations")
    grid = grids.Grid(["slerp.t=0.5,0.9", "iterations=1", "eval=none", "runtime.keep=iterations"])
    grid.freeze()
    pretend(runs[0].stages, runs[0])
    merge = runs[1].stages[-1]
    runs[1].store.publish(merge)
    rank = merge.inputs["updated"].directory
    assert rank in runs[1].store.readers()
    pretend([merge], runs[1])
    results = {run.stages[-1].directory for run in runs}  # only the final models of the runs are left
    assert runs[1].store.readers() == results
    rows = json.loads((grid.path / "stages.json").read_text())
    assert {row["dir"] for row in rows if row["result"]} == {f"store/{name}" for name in results}


# ----------------------------------------------------------------------------------------------------------------- frozen


def test_editing_conf_changes_nothing_of_a_frozen_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["slerp.t=0.5,0.9", "+exp=memphis_cot_no_scicot", "tracking=none"]
    grid = grids.Grid(typed)
    grid.freeze()
    before = [[stage.key for stage in run.stages] for run in grid.runs]
    listed = {row["dir"] for row in json.loads((grid.path / "stages.json").read_text())}
    assert listed == {f"store/{stage.directory}" for run in grid.runs for stage in run.stages}
    assert grids.Grid(typed).notes == []

    shutil.copytree(REPOSITORY / "conf", tmp_path / "edited" / "conf")
    file = tmp_path / "edited" / "conf" / "rank" / "card.yaml"
    file.write_text("weight: 0.5\n")
    monkeypatch.setattr(sweeps, "REPOSITORY", tmp_path / "edited")
    again = grids.Grid(typed)
    assert again.path == grid.path
    assert [[stage.key for stage in run.stages] for run in again.runs] == before
    assert again.notes[0].startswith("conf/ has changed: 2 of 2 arms would be others today; they stay as they were")
    assert grids.Grid(["name=new", *typed]).runs[0].cfg.rank.objective.weight == 0.5


def test_train_runs_a_frozen_arm_in_the_directory_of_what_was_typed_and_builds_nothing() -> None:
    typed = ["name=micro", "method=memphis", "generate.temperature=0.25,0.5", "seed=3", "until=data"]
    grid = grids.Grid(typed)
    grid.freeze()
    run = grid.runs[1]
    words = [f"--config-path={grid.path / 'arms'}", "--config-name=001"]
    line = [str(REPOSITORY / "train.py"), *words]
    environment = micro.environment(Path("elsewhere"))  # the root was frozen too
    planned = commands.run(*line, "plan=true", cwd=REPOSITORY, env=environment)
    assert run.stages[0].directory in planned.stdout, planned.stderr
    done = commands.run(*line, cwd=REPOSITORY, env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: runtime.build=false: data: not built; runtime.build=true builds what is missing\n"
    directory = grid.store.root.parent / "micro" / "s3" / "generate.temperature-0.5_method-memphis"
    assert directory == run.directory
    assert json.loads((directory / "summary.json").read_text())["status"] == "failed"
    assert "generate.temperature=0.5" in json.loads((directory / "run.json").read_text())["overrides"]


# ----------------------------------------------------------------------------------------------------------------- faults


def test_all_faults_of_all_arms_and_nothing_is_written(tmp_path: Path) -> None:
    done = program("slerp.t=0.5,2", "seed=0,1", "method=memphis,nope", "--submit")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "slerp.t=2: input should be less than or equal to 1\n    in 2 of 8 arms: slerp.t=2 seed=0" in done.stderr
    assert "Could not find 'method/nope'\n    in 4 of 8 arms:" in done.stderr
    assert not (tmp_path / "runs").exists()
    assert "typo=1: unknown key" in program("+typo=1", "seed=0,1", "--dry-run").stderr
    assert program("slerp.t=0.5,)").stderr.startswith("error: mismatched input ')'")
    assert "plan=true: leave it out" in program("plan=true").stderr


def test_the_same_run_twice_is_run_once(tmp_path: Path) -> None:
    runs, notes = sweeps.enumerate_runs(["seed=0,0", "slerp.t=0.99,0.5"])
    assert len(runs) == 2
    assert notes[0] == "the same run twice, once is enough: seed=0 slerp.t=0.99 is seed=0 slerp.t=0.99"
    assert len(notes) == 2
    for folder in (tmp_path / "a" / "b", tmp_path / "a-b"):  # two paths with the same name for a run directory
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"of": str(folder)}))
    with pytest.raises(MemphisError, match=r"would have the same directory; give each a name=… of its own"):
        enumerate_runs(f"sft.from={tmp_path}/a/b,{tmp_path}/a-b")


def test_several_files_of_sweeps_are_for_the_grid_alone() -> None:
    one = r"\+sweep=.*: one file at a time; `python -m experiments.grid` takes several"
    for typed in (["+sweep=slerp_factor,rank_weight"], ["+sweep=slerp_factor", "+sweep=rank_weight"]):
        with pytest.raises(MemphisError, match=one):
            check(typed, several=True)
    assert check(["+sweep=slerp_factor,rank_weight"], several=True, grid=True) == []


def test_runs_of_a_grid_are_in_the_group_of_their_sweep(tmp_path: Path) -> None:
    """Check the group that the W&B report filters by: the overrides of a frozen run do not name its sweep."""
    sweeps.freeze(enumerate_runs("+sweep=rank_weight,iterations"), tmp_path / "grid")
    runs = sweeps.thaw(tmp_path / "grid")
    assert not any("sweep" in word for run in runs for word in run.overrides)
    groups = [content.group(run.cfg, {"overrides": run.overrides}) for run in runs]
    assert groups == 4 * ["rank_weight"] + 4 * ["iterations"]  # the default is a run of both and runs once
    (mine, *_) = enumerate_runs("+sweep=rank_weight", "tracking.group=mine")
    assert mine.cfg.tracking.group == "mine"
    (alone,) = enumerate_runs("seed=3")
    assert alone.cfg.tracking.group is None


def test_without_slurm_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = program("seed=0,1", "--submit", path="/nonexistent")
    assert done.stderr.splitlines() == [
        "error: squeue: no such command; this needs a machine of a Slurm cluster. Without one: python train.py -m …"
    ]
    assert not (tmp_path / "runs").exists()
    assert "no such grid" in program("seed=0,1", "--status").stderr


FAKE = """#!{python}
import pathlib, sys
queue = pathlib.Path({queue!r})
jobs = queue.read_text().splitlines() if queue.exists() else []
if sys.argv[0].endswith("squeue"):
    sys.stdout.writelines(f"{{job}}\\n" for job in jobs)
elif len(jobs) >= {limit}:
    sys.exit("sbatch: error: QOSMaxSubmitJobPerUserLimit\\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy")
else:
    options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
    missing = set(filter(str.isdigit, options.get("dependency", "").split(":"))) - {{job.split("|")[0] for job in jobs}}
    if missing:
        sys.exit(f"sbatch: error: unknown jobs {{missing}}")
    queue.write_text("\\n".join([*jobs, f"{{len(jobs) + 1}}|PENDING|Dependency|{{options['comment']}}"]))
    print(len(jobs) + 1)
"""


def fake_slurm(folder: Path, limit: int) -> str:
    """Write squeue and sbatch that only keep a list, for refusals that a real Slurm cannot show. Return a PATH."""
    folder.mkdir(exist_ok=True)
    for name in ("squeue", "sbatch"):
        text = FAKE.format(python=sys.executable, queue=str(folder / "queue"), limit=limit)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return str(folder)


def test_a_refusal_is_in_slurms_own_words_and_the_rest_is_sent_later(tmp_path: Path) -> None:
    words = ["slerp.t=0.5,0.9", "iterations=1", "eval=none"]
    jobs = 5 + 1 + 2 + 2  # data base sft generate pairs, rank, merges, runs
    done = program(*words, "--submit", path=fake_slurm(tmp_path / "bin", limit=4))
    assert done.stderr == (
        "error: sbatch refused: sbatch: error: QOSMaxSubmitJobPerUserLimit sbatch: error: Batch job submission failed: "
        f"Job violates accounting/QOS policy; 4 of {jobs} jobs were sent, the same command sends the rest\n"
    )
    done = program(*words, "--submit", path=fake_slurm(tmp_path / "bin", limit=100))
    assert done.stdout.splitlines()[-1].startswith(f"{jobs - 4} jobs submitted, 4 were queued or running"), done.stderr
    done = program(*words, "--submit", path=fake_slurm(tmp_path / "bin", limit=100))
    assert done.stdout.splitlines()[-1].startswith(f"0 jobs submitted, {jobs} were queued or running")
    comments = [line.split("|")[3] for line in (tmp_path / "bin" / "queue").read_text().splitlines()]
    assert len(set(comments)) == len(comments) == jobs
    done = program(*words, "--status", path=fake_slurm(tmp_path / "bin", limit=100))
    assert done.stdout.splitlines()[1:3] == ["2 arms: 2 waiting", f"jobs in the queue: {jobs} pending (Dependency)"]


def test_gpus_are_asked_for_by_what_trains_and_samples_only(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, list[str], list[str]]] = []

    def submit(command: list[str], *, builds: list[str], options: list[str], **rest: Any) -> str:
        sent.append((builds[0].split("-")[0], options, command))
        return str(len(sent))

    monkeypatch.setattr(grids.slurm, "submit", submit)
    monkeypatch.setattr(grids.slurm, "queue", lambda store: [])
    monkeypatch.setattr(Graph, "disk", lambda self: ("", True))
    overrides = ["+exp=memphis_cot", "iterations=1", "runtime.num_devices=4"]
    grids.submit_missing(grids.Grid(overrides))
    kinds = {kind: options for kind, options, _ in sent[:-1]}
    assert {kind for kind, options in kinds.items() if "--gpus=4" in options} == {"sft", "generate", "rank"}
    assert {kind for kind, options in kinds.items() if "--gpus=1" in options} == {"evaluate"}
    assert set(kinds) == {"data", "base", "sft", "generate", "pairs", "rank", "merge", "evaluate"}
    runtimes = {kind: json.loads(command[command.index("--runtime") + 1]) for kind, _, command in sent[:-1]}
    assert {kind for kind, runtime in runtimes.items() if runtime["device"] == "cuda"} == {
        *("sft", "generate", "rank", "evaluate")
    }
    assert {kind for kind, runtime in runtimes.items() if runtime["num_devices"] == 4} == {"sft", "generate", "rank"}
    assert {runtime["num_devices"] for runtime in runtimes.values()} == {1, 4}
    assert [word for word in sent[-1][1] if word.startswith("--dependency=afterany:1:2:")]
    assert all("afterok" in " ".join(options) for kind, options in kinds.items() if kind not in ("data", "base"))


def test_a_full_disk_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids.slurm, "queue", lambda store: [])
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(MemphisError, match=r"MiB of weights stay, 0.0 MiB are free: too little in .*runs"):
        grids.submit_missing(grids.Grid(["iterations=1"]))


def test_an_unexpected_error_in_one_arm_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    words = ["seed=0,1", "runtime.build=false", "until=data", "tracking=none"]
    run = tmp_path / "runs" / "tiny" / "s0" / "default"
    run.mkdir(parents=True)
    (run / "run.json").write_text("[]")
    environment = micro.environment(tmp_path / "runs")
    done = commands.run(str(REPOSITORY / "train.py"), "-m", *words, cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-3:] == [
        "0 of 2 runs finished:",
        "  seed=0  failed: AttributeError(\"'list' object has no attribute 'get'\")",
        "  seed=1  failed: runtime.build=false: data: not built; runtime.build=true builds what is missing",
    ]
