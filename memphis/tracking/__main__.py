"""python -m memphis.tracking: bring to W&B what runs recorded offline, or make a W&B run from a run's files."""

import argparse
from pathlib import Path

from memphis.errors import run_command
from memphis.tracking.push import push
from memphis.tracking.segments import sync


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m memphis.tracking", description=(__doc__ or "").split(": ", 1)[1])
    commands = parser.add_subparsers(dest="command", required=True)
    syncing = commands.add_parser("sync", help="send the offline segments of runs; what was sent before is skipped")
    pushing = commands.add_parser("push", help="make a W&B run from the files of a run, without its segments")
    pushing.add_argument("--new-id", action="store_true", help="under a new id, beside a W&B run that is there")
    for command in (syncing, pushing):
        command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run directory")
    arguments = parser.parse_args(argv)
    complete = True
    for run in arguments.runs:
        if arguments.command == "sync":
            complete &= sync(run, print)
        else:
            print(f"{run}: {push(run, arguments.new_id)}")
    return 0 if complete else 1


if __name__ == "__main__":
    run_command(main)
