"""Three benchmarks in one engine process against a command line of lm-evaluation-harness for each.

python -m benchmarks.evaluation ours <checkpoint> <mirror> <out>        all benchmarks, one engine
python -m benchmarks.evaluation tasks <checkpoint> <mirror> <out>       files for the harness' command line
python -m benchmarks.evaluation harness <arguments of lm_eval>          that command line
"""

import gzip
import importlib.metadata
import json
import runpy
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.question import Contender, Numbers, Question, Round, Target
from benchmarks.rounds import whole_process
from eval.suites import find_suite

SUITE = find_suite("current")
LIMIT = 1  # items of each of 36 tasks


def _measure(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    files, out = work / "tasks", work / "scores"
    program = [sys.executable, "-m", "benchmarks.evaluation"]
    given = [str(work / "small"), str(work / "shared" / "benchmarks")]
    whole_process([*program, "tasks", *given, str(files)], "tasks", work)
    settings = (files / "model_args").read_text()

    def ours() -> Numbers:
        return whole_process([*program, "ours", *given, str(out / "ours")], "ours", work)

    def harness() -> Numbers:
        lines = [
            whole_process(
                [
                    *(*program, "harness", "run", "--model", "vllm", "--model_args", settings),
                    *("--tasks", str(files / column.name), "--limit", str(LIMIT), "--batch_size", "auto"),
                    *("--log_samples", "--output_path", str(out / "theirs")),
                ],
                f"harness-{column.name}",
                work,
                VLLM_ENABLE_V1_MULTIPROCESSING="0",
                VLLM_CPU_OMP_THREADS_BIND="nobind",
            )
            for column in SUITE.columns
        ]
        added = {key: sum(line[key] for line in lines) for key in ("cpu_s", "wall_s")}
        return {**added, "rss_mib": max(line["rss_mib"] for line in lines)}

    sides = {"ours": ours, "harness": harness}
    for _ in range(rounds):
        yield {each.name: sides[each.name]() for each in contenders}
        mine = _prompts(gzip.decompress(file.read_bytes()) for file in (out / "ours" / "samples").glob("*.gz"))
        theirs = _prompts(file.read_bytes() for file in (out / "theirs").rglob("samples_*.jsonl"))
        assert mine, "nothing was asked"
        assert mine == theirs, f"the harness asked {len(theirs)} other prompts than our {len(mine)}"
        shutil.rmtree(out)


def _prompts(files: Iterable[bytes]) -> set[tuple[int, str]]:
    rows = (json.loads(line) for file in files for line in file.splitlines())
    return {(row["doc_id"], row["prompt_hash"]) for row in rows}


QUESTION = Question(
    "evaluation",
    "GSM8K, AGIEval (8 tasks) and BBH (27 tasks), 1 item of each task, small model with random weights",
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


def ours(model: str, mirror: str, out: str) -> None:
    from eval.harness import evaluate
    from memphis.sampling import open_engine
    from memphis.training.model import fingerprint

    Path(out).mkdir(parents=True)
    engine = open_engine("vllm", Path(model), dtype="float32")
    evaluate(
        engine,
        Path(model),
        SUITE.name,
        fingerprint=fingerprint(model),
        data_dir=Path(mirror),
        limit=LIMIT,
        seeds=[0],
        allow_truncated=True,
        out=Path(out),
        log=lambda _: None,
        kill_point=lambda _: None,
    )
    engine.close()


def tasks(model: str, mirror: str, out: str) -> None:
    """Write out/<benchmark>/<task>.yaml, the harness' own definitions with the mirror's data, and out/model_args: the
    engine, as memphis starts its own on a CPU."""
    from eval.tasks import write_task
    from memphis.sampling.vllm import CPU_BLOCK_TOKENS, SEQUENCES

    Path(out).mkdir()
    (Path(out) / "model_args").write_text(
        f"pretrained={model},dtype=float32,enforce_eager=True,block_size={CPU_BLOCK_TOKENS},"
        f"max_num_seqs={SEQUENCES['cpu']},kv_cache_memory_bytes={1 << 30}"
    )
    for column in SUITE.columns:
        folder = Path(out) / column.name
        folder.mkdir()
        for task in column.tasks:
            write_task(SUITE, column, task, Path(mirror), folder)


def harness(*arguments: str) -> None:
    """lm_eval as typed. It asks for the version of a package "vllm", and the build for CPUs is called vllm-cpu."""
    version = importlib.metadata.version

    def answer(name: str) -> str:
        return f"{version('vllm-cpu')}+cpu" if name == "vllm" else version(name)

    importlib.metadata.version = answer  # type: ignore[assignment]
    sys.argv = ["lm_eval", *arguments]
    runpy.run_module("lm_eval", run_name="__main__")


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {"ours": ours, "tasks": tasks, "harness": harness}
    programs[sys.argv[1]](*sys.argv[2:])
