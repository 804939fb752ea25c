"""Grade answers in a file: `python -m memphis.answers grade FILE.jsonl` prints a verdict and its rule for each line."""

import argparse
from collections import Counter
from pathlib import Path

from memphis.answers.equal import KINDS, options_of, verdict
from memphis.errors import MemphisError, run_command
from memphis.jsonl import read_rows


def grade(path: Path, *, fallback: bool = True) -> list[str]:
    """Return a text line per row of a file, then the counts of rules, and precision and recall.

    A row has `prediction` and `gold`, and may have `options` (texts) or the `prompt` they stand in, `kind`, and
    `equal`, the right verdict: of those rows precision and recall are computed, and `!` marks a different verdict.
    Formulas that need algebra count as different. Raises MemphisError for a row without the fields.
    """
    lines = []
    rules: Counter[tuple[str, bool]] = Counter()
    labelled: Counter[tuple[bool, bool]] = Counter()
    for number, row in enumerate(read_rows(path), start=1):
        if not isinstance(row.get("prediction"), str) or not isinstance(row.get("gold"), str):
            raise MemphisError(f"{path}, line {number}: a row needs the texts prediction and gold")
        options = row.get("options") or options_of(row.get("prompt") or "")
        kind = row["kind"] if row.get("kind") in KINDS else None
        found = verdict(row["prediction"], row["gold"], options=options, kind=kind, fallback=fallback)
        rules[found.rule, found.equal] += 1
        mark = " "
        if isinstance(row.get("equal"), bool):
            labelled[found.equal, row["equal"]] += 1
            mark = " " if found.equal == row["equal"] else "!"
        said = "right" if found.equal else "wrong"
        lines.append(f"{number:>6} {mark} {said} {found.rule:<9} {row['prediction']!r} | {row['gold']!r}")
    lines += [
        "",
        *(f"{count:>6}   {'right' if same else 'wrong'} {rule}" for (rule, same), count in sorted(rules.items())),
    ]
    if labelled:
        right = labelled[True, True]
        for name, other in (("precision", labelled[True, False]), ("recall", labelled[False, True])):
            share = f"{right / (right + other):.4f}" if right + other else "none"
            lines.append(f"{name} {share} ({right} of {right + other})")
    return lines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m memphis.answers", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("grade", help="print a verdict and the rule that decides, for each line of a file")
    command.add_argument("file", type=Path, metavar="FILE.jsonl", help="rows with prediction and gold")
    command.add_argument("--no-fallback", action="store_true", help="as pairs.answer.fallback=false: read no sentences")
    arguments = parser.parse_args(argv)
    if not arguments.file.is_file():
        raise MemphisError(f"{arguments.file}: no such file")
    print("\n".join(grade(arguments.file, fallback=not arguments.no_fallback)))
    return 0


if __name__ == "__main__":
    run_command(main)
