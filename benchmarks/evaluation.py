"""Three benchmarks in one engine process against a command line of lm-evaluation-harness for each."""

import gzip
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.question import Contender, Numbers, Question, Round, Target
from benchmarks.rounds import whole_process

BENCHMARKS = ("gsm8k", "agieval", "bbh")
LIMIT = 1  # items of each of 36 tasks


def _measure(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    mirror = work / "shared" / "benchmarks"
    model, files, out = work / "small", work / "tasks", work / "scores"
    program = [sys.executable, "-m", "benchmarks.engines"]
    whole_process([*program, "tasks", str(model), str(mirror), str(files)], "tasks", work)
    settings = (files / "model_args").read_text()

    def ours() -> Numbers:
        (out / "ours").mkdir(parents=True)
        return whole_process([*program, "ours", str(model), str(mirror), str(LIMIT), str(out / "ours")], "ours", work)

    def harness() -> Numbers:
        lines = [
            whole_process(
                [
                    *(*program, "harness", "run", "--model", "vllm", "--model_args", settings),
                    *("--tasks", str(files / name), "--limit", str(LIMIT), "--batch_size", "auto"),
                    *("--log_samples", "--output_path", str(out / "theirs")),
                ],
                f"harness-{name}",
                work,
                VLLM_ENABLE_V1_MULTIPROCESSING="0",
                VLLM_CPU_OMP_THREADS_BIND="nobind",
            )
            for name in BENCHMARKS
        ]
        added = {key: sum(line[key] for line in lines) for key in ("cpu_s", "wall_s")}
        return {**added, "rss_mib": max(line["rss_mib"] for line in lines)}

    sides = {"ours": ours, "harness": harness}
    for _ in range(rounds):
        yield {each.name: sides[each.name]() for each in contenders}
        _same_prompts(out)
        shutil.rmtree(out)


def _same_prompts(out: Path) -> None:
    """Raises AssertionError unless both have asked the same questions with the same words."""
    mine = {
        (row["doc_id"], row["prompt_hash"])
        for file in (out / "ours" / "samples").glob("*.gz")
        for row in map(json.loads, gzip.decompress(file.read_bytes()).splitlines())
    }
    theirs = {
        (row["doc_id"], row["prompt_hash"])
        for file in (out / "theirs").rglob("samples_*.jsonl")
        for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())
    }
    assert mine == theirs, f"the harness asked {len(theirs)} other prompts than our {len(mine)}"
    assert mine


QUESTION = Question(
    "evaluation",
    f"GSM8K, AGIEval (8 tasks) and BBH (27 tasks), {LIMIT} item of each task, small model with random weights",
    (
        Contender("ours", "memphis: suite `current`, one process, one engine"),
        Contender("harness", "lm_eval 0.4.13 with its vLLM model: three command lines, the same engine settings"),
    ),
    (
        Target("CPU time", ("ours", "cpu_s"), ("harness", "cpu_s")),
        Target("wall time", ("ours", "wall_s"), ("harness", "wall_s")),
    ),
    _measure,
    rounds=1,  # which takes minutes
)
