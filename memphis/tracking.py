"""Files to W&B: the parent hands over the rows its stages wrote; nothing that memphis computes reads W&B.

All calls return at once: a thread of its own imports wandb, talks to it and keeps `wandb/sent.json`, so a slow or
absent server neither delays nor fails a run. Children never import this file, and nothing imports wandb untracked.
"""

import hashlib
import json
import math
import netrc
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from memphis.config import Config, to_dict
from memphis.console import printable
from memphis.errors import Stopped
from memphis.privacy import SECRET, masked
from memphis.recipe import method_name
from memphis.runs import Run
from memphis.store import Stage, read_json, write_json

INIT_SECONDS = 30.0  # an unreachable server costs the tracking thread this long, once
FINISH_SECONDS = 60.0  # a server lost on the way costs the end of the run this long at most; the data stay on the disk
QUESTIONS = 64  # in a table of samples, the same ones in every iteration
MAX_ROWS = 10_000  # of one table
MAX_CHARS = 4_000  # of one cell
COUNTERS = ("global_step", "tokens", "iteration")
AXES = {
    "global_step": ("base", "sft", "rank", "optim", "perf"),
    "iteration": ("data", "gen", "pairs", "merge", "eval"),
}
SAMPLE_COLUMNS = (
    *("iteration", "question_id", "question", "reference", "response", "extracted"),
    *("correct", "valid_format", "tokens", "pair_role"),
)
_TRAINED = ("base", "sft", "rank")  # kinds with one row per optimizer step


class Tracker:
    """One W&B run for one run directory; all its attempts share an id, so they continue one another.

    `tracking.mode`: `offline`; `wandb` = online if a key is configured and the server answers, else offline; `none`.
    WANDB_MODE=offline and WANDB_MODE=disabled are obeyed. Everything of W&B goes to `<run>/wandb`. What there is to
    say (online where, offline why, given up why) is one line on standard error.
    """

    def __init__(self, cfg: Config, run: Run) -> None:
        self._cfg = cfg
        self._info = run.info
        self._store = run.store
        self._dir = run.path / "wandb"
        self._exit_code = 0
        self._sent: dict[str, int] = {}
        self._run: Any = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._off = cfg.tracking.mode == "none" or os.environ.get("WANDB_MODE") == "disabled"
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        if not self._off:
            self._thread.start()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Stopped):
            self._do(lambda: self._run.mark_preempting())
        self.close(0 if error is None else 1)

    def started(self, stage: Stage) -> None:
        """W&B has nothing to show for a stage without rows."""

    def said(self, text: str) -> None:
        """What is said to a person is not recorded: the console is kept out of W&B."""

    def rows(self, stage: Stage, first: int, rows: list[dict[str, Any]]) -> None:
        """Hand over rows of a stage's metrics.jsonl. Those sent before, also by an earlier attempt, are left out.

        first: index of rows[0] in that file, from 0. Of training rows every `tracking.every`-th step is sent and the
            last one.
        """
        self._do(lambda: self._send_rows(stage, first, rows))

    def finished(self, stage: Stage, record: Mapping[str, Any], reused: bool) -> None:
        """Hand over the table `gen/samples` of an iteration when its samples have been judged, once."""
        if stage.kind == "pairs":
            self._do(lambda: self._send_samples(stage))

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Hand over what summary.json holds; see `final_values`."""
        self._do(lambda: self._run.summary.update(final_values(summary)))

    def close(self, exit_code: int) -> None:
        """Send what is left and end the W&B run; returns after FINISH_SECONDS (plus 15) at the latest."""
        if self._off and not self._thread.is_alive():
            return
        self._exit_code = exit_code
        self._jobs.put(None)
        self._thread.join(FINISH_SECONDS + 15)
        if self._thread.is_alive():
            _say(f"W&B did not answer in time; what it has not got is in {self._dir}")

    def _do(self, job: Callable[[], None]) -> None:
        if not self._off:
            self._jobs.put(job)

    def _work(self) -> None:
        try:
            with _environment(_places(self._dir)):
                self._dir.mkdir(parents=True, exist_ok=True)
                self._sent = read_json(self._sent_file) if self._sent_file.exists() else {}
                write_json(self._sent_file, self._sent)  # in a read-only place wandb would silently move to /tmp
                with _nothing_to_tell():
                    self._run = self._open()
                while (job := self._jobs.get()) is not None:
                    job()
                self._run.finish(exit_code=self._exit_code)
        except Exception as error:  # whatever it is, it must not end the run
            self._off = True
            _say(f"off, the run goes on: {_line(error)}")

    @property
    def _sent_file(self) -> Path:
        return self._dir / "sent.json"

    def _open(self) -> Any:
        import wandb

        cfg, info, git = self._cfg, self._info, self._info["git"]
        plain = to_dict(cfg)
        method = method_name(plain)
        scale = "tiny" if cfg.model.base is not None else Path(cfg.model.path or "").name
        wandb_settings = {
            "console": "off",
            "silent": True,
            "save_code": False,
            "disable_git": True,  # its remote URL may hold a token; the commit is given instead
            "git_commit": git["sha"],
            "init_timeout": INIT_SECONDS,
            "finish_timeout": FINISH_SECONDS,
            "x_transaction_log_flush_interval": 1.0,  # a killed run loses one second, not fifteen
            "x_stats_track_process_tree": True,  # the work is done by child processes
        }
        settings = wandb.Settings(**{k: v for k, v in wandb_settings.items() if k in wandb.Settings.model_fields})
        where = "slurm" if "SLURM_JOB_ID" in os.environ else "local"
        factors = {
            "slerp_t": cfg.slerp.t,
            "rank_weight": cfg.rank.weight,
            "iterations": cfg.iterations,
            "seed": cfg.seed,
            "scale": scale,
            "method": method,
            "git_sha": git["sha"],
            "git_dirty": git["dirty"],
        }
        arguments: dict[str, Any] = {
            "id": info["run_id"],
            "resume": "allow",
            "dir": str(self._dir.parent),
            "project": cfg.tracking.project,
            "entity": cfg.tracking.entity,
            "group": cfg.tracking.group or cfg.name,
            "name": f"{cfg.name} s{cfg.seed} {info['slug']}",
            "job_type": "eval" if method == "none" else "train",
            "tags": list(dict.fromkeys([cfg.name, scale, where, *cfg.tracking.tags])),
            "config": masked(plain) | factors,
            "settings": settings,
        }
        started = None
        if cfg.tracking.mode == "wandb" and os.environ.get("WANDB_MODE") not in ("offline", "dryrun"):
            if _key_configured(urlsplit(wandb.setup(settings=settings).settings.base_url)):
                try:
                    started = wandb.init(mode="online", **arguments)
                    _say(str(started.url))
                except Exception as error:
                    wandb.teardown()  # else the id counts as in use
                    _say(f"recording offline in {self._dir}: {_line(error)}")
            else:
                _say(f"recording offline in {self._dir}: no W&B key (`wandb login`)")
        started = started or wandb.init(mode="offline", **arguments)
        for counter in COUNTERS:
            started.define_metric(counter, hidden=True)
        for axis, families in AXES.items():
            for family in families:
                started.define_metric(f"{family}/*", step_metric=axis)
        return started

    def _send_rows(self, stage: Stage, first: int, rows: list[dict[str, Any]]) -> None:
        sent = self._sent.get(stage.directory, 0)
        for row in rows[max(0, sent - first) :]:
            if stage.kind in _TRAINED and not _due(row, self._cfg.tracking.every):
                continue
            if values := _values(row):
                self._run.log(values)
        self._mark(stage.directory, first + len(rows))

    def _send_samples(self, stage: Stage) -> None:
        name = f"{stage.directory}/samples"
        if name in self._sent:
            return
        import wandb

        data, generate = (self._store.path(stage.inputs[role]) for role in ("data", "samples"))
        rows = sample_rows(data, generate, self._store.path(stage), stage.iteration)[:MAX_ROWS]
        cells = [[_cell(row[column]) for column in SAMPLE_COLUMNS] for row in rows]
        table = wandb.Table(columns=list(SAMPLE_COLUMNS), data=cells, allow_mixed_types=True)
        self._run.log({"iteration": stage.iteration, "gen/samples": table})
        self._mark(name, len(rows))

    def _mark(self, name: str, count: int) -> None:
        if count > self._sent.get(name, 0):
            self._sent[name] = count
            write_json(self._sent_file, self._sent)


def fixed_choice(question_ids: list[str], count: int = QUESTIONS) -> set[str]:
    """The `count` ids with the smallest sha256: the same ones whenever the same questions are asked."""
    return set(sorted(set(question_ids), key=lambda item: hashlib.sha256(item.encode()).hexdigest())[:count])


def sample_rows(data: Path, generate: Path, pairs: Path, iteration: int) -> list[dict[str, Any]]:
    """Rows of the samples table: all samples of the chosen questions, read from the directories of three stages.

    pair_role is `chosen` or `rejected` when the sample's text went into a pair of its question, else "".
    """
    questions = {row["id"]: row for row in _lines(data / "questions.jsonl")}
    chosen = fixed_choice(list(questions))
    roles: dict[tuple[str, str], str] = {}
    for pair in _lines(pairs / "pairs.jsonl"):
        if pair["id"] in chosen:
            roles |= {(pair["id"], text): "rejected" for text in pair["rejected"]}
            roles[pair["id"], pair["chosen"]] = "chosen"
    lengths = {
        row["id"]: [len(sample["token_ids"]) for sample in row["samples"]]
        for row in _lines(generate / "samples.jsonl")
        if row["id"] in chosen
    }
    return [
        {
            "iteration": iteration,
            "question_id": row["id"],
            "question": questions[row["id"]]["prompt"],
            "reference": questions[row["id"]]["answer"],
            "response": sample["text"],
            "extracted": sample["answer"],
            "correct": sample["correct"],
            "valid_format": sample["valid"],
            "tokens": tokens,
            "pair_role": roles.get((row["id"], sample["text"].strip()), ""),
        }
        for row in _lines(pairs / "judged.jsonl")
        if row["id"] in chosen
        for sample, tokens in zip(row["samples"], lengths[row["id"]], strict=True)
    ]


def final_values(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The flat W&B summary of summary.json: scores (0 to 1) of the last model and of the best one (highest mean over
    columns), their standard errors under `…_se`, and seconds."""
    values: dict[str, Any] = {}
    scores = [row for row in summary.get("scores", []) if row["columns"]]
    if scores:
        for column, score in scores[-1]["columns"].items():
            values |= {f"final/{column}": score["score"], f"final/{column}_se": score["stderr"]}
        best = max(scores, key=lambda row: sum(c["score"] for c in row["columns"].values()) / len(row["columns"]))
        values |= {f"best/{column}": score["score"] for column, score in best["columns"].items()}
        values["best/iteration"] = best["iteration"]
    if "wall_s" in summary:
        values["final/wall_s_total"] = summary["wall_s"]
    values |= {f"final/wall_s/{stage['name']}": stage["seconds"] for stage in summary.get("stages", [])}
    return {key: value for key, value in values.items() if value is not None}


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Environment variables set, or removed where None, for as long as the block runs."""
    before = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _places(directory: Path) -> dict[str, str | None]:
    """Where wandb puts what it would put below the home directory, unless the user chose a place."""
    places = {"WANDB_DATA_DIR": str(directory / "data"), "WANDB_CACHE_DIR": str(directory / "data" / "cache")}
    return {"WANDB_ERROR_REPORTING": "false", **{k: v for k, v in places.items() if k not in os.environ}}


@contextmanager
def _nothing_to_tell() -> Iterator[None]:
    """No job token in the environment and no secret in argv while wandb records both; no service of another process."""
    tokens = {name: None for name in os.environ if name.startswith("SLURM") and SECRET.search(name)}
    argv, shown = sys.argv, masked(sys.argv)
    if shown != argv:
        sys.argv = shown
    os.environ.pop("WANDB_SERVICE", None)  # inherited: its socket is that of another process, or gone
    try:
        with _environment(tokens):
            yield
    finally:
        sys.argv = argv
        os.environ.pop("WANDB_SERVICE", None)  # ours: a child or a job submitted from here must not inherit it


def _key_configured(server: Any) -> bool:
    """Whether `wandb.init` will find a key without asking: in the environment, or in .netrc for this server."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        logins = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return server.hostname in logins or server.netloc in logins


def _due(row: Mapping[str, Any], every: int) -> bool:
    step = row.get("step")
    return step is None or step % every == 0 or step == row.get("steps")


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Counters and families only; empty when no family is left. What was not finite is sent as nan, not left out."""
    values = {key: value for key, value in row.items() if "/" in key and value is not None}
    values |= dict.fromkeys(row.get("_nonfinite", ()), math.nan)
    return {**{key: row[key] for key in COUNTERS if key in row}, **values} if values else {}


def _cell(value: Any) -> Any:
    return value[:MAX_CHARS] if isinstance(value, str) else value


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {masked(str(error))}".split())


def _say(text: str) -> None:
    print(f"tracking: {printable(text)}", file=sys.stderr, flush=True)
