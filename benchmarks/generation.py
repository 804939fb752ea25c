"""Shares of torch's operations in sampling on a CPU, and tokens per CPU-second.

OMP_NUM_THREADS=1 python -m benchmarks.generation CHECKPOINT [--engine hf] [--sort] [--profile]
"""

import argparse
import importlib
import time
from contextlib import nullcontext
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from memphis.data import prompts, tokens
from memphis.data.tiny import Difficulty, problems
from memphis.sampling import open_engine
from memphis.store import digest

QUESTIONS, SAMPLES, ROWS = 16, 8, 12
EVERY_VOCABULARY = 1 << 40


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__, formatter_class=form)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--engine", default="vllm", choices=("vllm", "hf"))
    parser.add_argument("--tokens", type=int, default=24, help="most tokens of an answer; default: 24")
    parser.add_argument("--sort", action="store_true", help="sort the whole vocabulary, as both engines do themselves")
    parser.add_argument("--profile", action="store_true", help="print the operations; it makes a run slower")
    arguments = parser.parse_args()
    if arguments.sort:
        importlib.import_module(f"memphis.sampling.{arguments.engine}").SMALL = EVERY_VOCABULARY  # type: ignore[attr-defined]
    engine = open_engine(arguments.engine, arguments.checkpoint, dtype="float32")
    rows = [row["prompt"] for row in problems("train", QUESTIONS, 0, Difficulty())]
    ids = tokens.prompt_ids(rows, tokens.load_tokenizer(arguments.checkpoint))
    with profile(activities=[ProfilerActivity.CPU]) if arguments.profile else nullcontext() as profiled:
        began = time.process_time()
        found = engine.generate(
            ids,
            num_samples=SAMPLES,
            temperature=0.5,
            top_p=0.8,
            max_new_tokens=arguments.tokens,
            stop=prompts.STOP_STRINGS,
            seed=0,
        )
        spent = time.process_time() - began
    if profiled is not None:
        operations = sorted(profiled.key_averages(), key=lambda each: each.self_cpu_time_total, reverse=True)
        total = sum(each.self_cpu_time_total for each in operations)
        for each in operations[:ROWS]:
            print(f"{100 * each.self_cpu_time_total / total:5.1f} %  {each.key}")
    answers = [one.token_ids for completions in found for one in completions]
    sampled = sum(map(len, answers))
    print(f"{sampled} tokens, sha256 {digest(answers)[:12]}, {sampled / spent:.0f} tokens per CPU-second")
    engine.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
