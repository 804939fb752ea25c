"""Graph of the stages of many runs: each once, what it costs, and the jobs in which it is built."""

import shutil
from collections import Counter
from dataclasses import dataclass

from experiments.grid.frozen import SweepRun
from memphis.engine import plan
from memphis.formatting import size_text
from memphis.pipeline import KINDS, trains
from memphis.store import Stage
from memphis.store.disk import existing


@dataclass(frozen=True)
class Job:
    """Stages that one job builds, one after the other. run: the run whose runtime settings it uses."""

    stages: list[Stage]
    run: SweepRun

    @property
    def needs(self) -> str:
        """Kind of machine: `train`, `engine` or `cpu`."""
        first = self.stages[0]
        if KINDS[first.kind].needs == "engine":
            return "engine"
        return "train" if trains(first.kind, first.config) else "cpu"

    @property
    def inputs(self) -> set[str]:
        return {source.directory for stage in self.stages for source in stage.inputs.values()}


class Graph:
    """Union of the runs' chains, compared with what the store has at this moment."""

    def __init__(self, runs: list[SweepRun]) -> None:
        self.runs = runs
        self.store = runs[0].store
        self.stages: dict[str, Stage] = {}  # inputs before readers
        self.owner: dict[str, SweepRun] = {}  # the first run that has it
        for run in runs:
            for stage in run.stages:
                self.stages.setdefault(stage.directory, stage)
                self.owner.setdefault(stage.directory, run)
        self.results = [stage for run in runs for stage in plan.last_model(run.stages)]
        steps = plan.make_plan(list(self.stages.values()), self.store, self.results)
        self.missing = {step.stage.directory: step for step in steps if step.needed}
        for directory, step in self.missing.items():  # with weights dropped, inputs may be no run's own
            self.stages.setdefault(directory, step.stage)
            self.owner.setdefault(directory, runs[0])

    def missing_of(self, run: SweepRun) -> list[str]:
        """Return the stages that the run waits for."""
        return [stage.directory for stage in run.stages if stage.directory in self.missing]

    def jobs(self, without: set[str]) -> list[Job]:
        """Return the jobs that build what is missing, inputs first. without: directories that are being built already.

        A job is one stage, but stages that sample from one model share the engine: generation first, because others
        wait for it.
        """
        todo = [step.stage for directory, step in self.missing.items() if directory not in without]
        groups: dict[tuple[str, ...], list[Stage]] = {}
        for stage in sorted(todo, key=lambda stage: KINDS[stage.kind].leaves == "scores"):
            shared: tuple[str, ...] = (stage.directory,)
            if KINDS[stage.kind].needs == "engine":
                shared = (stage.inputs["model"].directory, stage.config["generate"]["engine"])
            groups.setdefault(shared, []).append(stage)
        jobs = [Job(stages, self.owner[stages[0].directory]) for stages in groups.values()]
        job_of = {stage.directory: job for job in jobs for stage in job.stages}
        ordered: dict[str, Job] = {}

        def visit(job: Job) -> None:
            if job.stages[0].directory not in ordered:
                for source in sorted(job.inputs & job_of.keys()):
                    visit(job_of[source])
                ordered[job.stages[0].directory] = job

        for stage in todo:
            visit(job_of[stage.directory])
        return list(ordered.values())

    def disk(self) -> tuple[str, bool]:
        """Describe the disk space that the weights to build will take; False when that cannot fit."""
        kept, results = 0, {stage.key for stage in self.results}
        for step in self.missing.values():
            cfg, kind = self.owner[step.stage.directory].cfg, KINDS[step.stage.kind]
            keep, result = cfg.runtime.keep, step.stage.key in results
            if kind.writes and (kind.kept(keep, cfg.slerp.method != "none") or (keep == "final" and result)):
                size = plan.model_bytes(cfg, list(self.stages.values()), self.store)
                if size is None:
                    return "disk: unknown until the model is here", True
                kept += size
        free = shutil.disk_usage(existing(self.store.root)).free
        fits = kept <= free
        cure = "" if fits else f": too little in {self.store.root.parent}; runtime.keep=final needs less"
        return f"disk: {size_text(kept)} of weights stay, {size_text(free)} are free{cure}", fits

    def describe(self) -> str:
        """Describe what is shared and what is left to do."""
        naive = Counter(stage.kind for run in self.runs for stage in run.stages)
        unique = Counter(stage.kind for stage in self.stages.values())
        todo = Counter(step.stage.kind for step in self.missing.values())
        alone, shared = (sum(KINDS[kind].hours * count[kind] for kind in count) for count in (naive, unique))
        cheaper = f", {alone / shared:.1f}x cheaper" if shared else ""
        chains = len({tuple(stage.key for stage in run.stages) for run in self.runs})
        same = f" ({chains} of them different)" if chains < len(self.runs) else ""
        return "\n".join(
            [
                f"{len(self.runs):,} arms{same}: {naive.total():,} stages, {unique.total():,} unique, "
                f"{todo.total():,} to run{cheaper}",
                "  stages = of all arms, each run alone; cheaper = hours of all / hours of unique stages, estimated as "
                + ", ".join(f"{kind} {row.hours}" for kind, row in KINDS.items() if row.hours),
                f"  {'kind':10}{'stages':>8}{'unique':>8}{'to run':>8}",
                *(f"  {kind:10}{naive[kind]:8,}{unique[kind]:8,}{todo[kind]:8,}" for kind in KINDS if kind in unique),
                *(
                    f"  {directory} is there but cannot be used: {step.fault}; it is built again"
                    for directory, step in self.missing.items()
                    if step.fault not in (None, "not built")
                ),
            ]
        )
