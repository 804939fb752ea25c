"""Speed of memphis beside TRL and mergekit, measured in turn; and why. Fails where a ratio is beyond its target or more
than 25 % worse than the committed one.

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

from benchmarks import limits, results
from benchmarks.harness import Question, Round, whole_process
from benchmarks.questions import COMPARISONS, EXPLANATIONS
from benchmarks.results import Measured
from memphis.errors import MemphisError, run_command
from memphis.runs import REPOSITORY

PAGES = {REPOSITORY / "README.md": COMPARISONS, REPOSITORY / "docs" / "performance.md": EXPLANATIONS}
KNOWN = {question.name: question for questions in PAGES.values() for question in questions}
LIMITS = "limits"
PACKAGES = ("torch", "transformers", "trl", "mergekit")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTIONS", help=f"some of {', '.join([*KNOWN, LIMITS])}")
    parser.add_argument("--rounds", type=int, default=5, help="how often every contender is measured; default: 5")
    parser.add_argument("--save", action="store_true", help="commit what was measured, and write the pages' blocks")
    parser.add_argument("--write", action="store_true", help="write the blocks of the committed results")
    parser.add_argument("--check", action="store_true", help="fail when a page is not what the committed results say")
    arguments = parser.parse_args()
    missed = []
    if not (arguments.check or arguments.write):
        missed = measure(arguments.questions, arguments.rounds, save=arguments.save)
        print("\n".join(missed) or "every target is met")
    for page, questions in PAGES.items():
        if arguments.save or arguments.write:
            page.write_text(results.page_text(page, questions), encoding="utf-8")
        elif arguments.check and results.page_text(page, questions) != page.read_text(encoding="utf-8"):
            missed.append(page.name)
            print(f"{page.name}: the block of speeds is not what benchmarks/results says; python -m benchmarks --write")
    if arguments.check and not missed:
        print(f"{' and '.join(page.name for page in PAGES)} are what benchmarks/results says")
    return int(bool(missed))


def measure(names: list[str], rounds: int, *, save: bool) -> list[str]:
    """Run the given number of rounds of each question; return a line for each ratio missed."""
    if unknown := [name for name in names if name not in (*KNOWN, LIMITS)]:
        raise MemphisError(f"{unknown[0]}: no such question; there are {', '.join([*KNOWN, LIMITS])}")
    if rounds < 1:
        raise MemphisError(f"--rounds={rounds}: at least one")
    shared = Path(os.environ.get("MEMPHIS_SHARED", REPOSITORY.parent / "shared")).absolute()
    rows = shared / "data" / "tinycot_sample" / "train.jsonl"
    if not rows.exists():
        raise MemphisError(f"MEMPHIS_SHARED={shared}: no data/tinycot_sample there; set it to the sample data")
    missed = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        work = Path(folder)
        material = [sys.executable, "-m", "benchmarks.material", "training", str(rows), str(work)]
        whole_process(material, "material", work)
        for question in [KNOWN[name] for name in names if name != LIMITS] if names else COMPARISONS:
            measured = _answer(question, work, rounds)
            missed += results.misses(question, measured, None if save else results.load(question))
            if save:
                results.save(question, measured)
        if not names or LIMITS in names:
            print(f"{LIMITS}: what memphis takes by itself", flush=True)
            missed += limits.exceeded(work)
    return missed


def _answer(question: Question, work: Path, rounds: int) -> Measured:
    began = time.monotonic()
    print(f"{question.name}: {question.title}", flush=True)
    done: list[Round] = []
    for found in question.measure(question.contenders, work, rounds):
        done.append(found)
        question.agree(done)
    for target in question.targets:
        sides = f"{target.ours} / {target.measure}  {target.peer} / {target.measure}"
        print(f"  {results.WORDS[target.measure]:24} {sides}  {target.value(done):.3f}", flush=True)
    print(f"  {time.monotonic() - began:.0f} s", flush=True)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return Measured(datetime.date.today().isoformat(), machine(), versions, done)


def machine() -> str:
    """Processor, as Linux describes it, and memory."""
    found = dict(re.findall(r"^(model name|flags)\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    flags = ", ".join(flag for flag in known if flag in found.get("flags", "").split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{found.get('model name', 'unknown')} ({flags}), {os.cpu_count()} cores, {memory:.0f} GiB"


if __name__ == "__main__":
    run_command(main)
