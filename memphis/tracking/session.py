"""Open a W&B run: which information about this process W&B gets, which is hidden from it, where it may write."""

import netrc
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from memphis.config import Config, to_dict
from memphis.formatting import printable
from memphis.privacy import SECRET, masked
from memphis.tracking import content

INIT_SECONDS = 30.0  # an unreachable server costs the tracking thread this long, once
FINISH_SECONDS = 40.0  # a server lost on the way delays the end of the run this long at most; the data stay on the disk
PUSH_SECONDS = 600.0  # the user waits for this one


@contextmanager
def surroundings(directory: Path) -> Iterator[None]:
    """Set the environment for wandb: it writes below `directory` what it would write below the home directory, unless
    the user chose a path, and sends no reports about itself."""
    paths = {"WANDB_DATA_DIR": str(directory / "data"), "WANDB_CACHE_DIR": str(directory / "data" / "cache")}
    with _environment({"WANDB_ERROR_REPORTING": "false"} | {k: v for k, v in paths.items() if k not in os.environ}):
        yield


def open_run(cfg: Config, info: Mapping[str, Any], directory: Path, run_id: str) -> Any:
    """Open the run `run_id`, new or continued, recorded below `directory` as `tracking.mode` says.

    Without a key or a server, mode `wandb` records the run offline and reports that.
    """
    import wandb

    with _hidden_secrets():
        settings = _settings(info, FINISH_SECONDS)
        if cfg.tracking.mode == "wandb" and os.environ.get("WANDB_MODE") not in ("offline", "dryrun"):
            try:
                if key_configured():
                    run = _init(cfg, info, directory, settings, run_id, "online", "allow")
                    report(str(run.url))
                    return run
                reason = "no W&B key (`wandb login`)"
            except Exception as error:
                wandb.teardown()  # else the id counts as in use
                reason = line(error)
            report(f"recording offline in {directory / 'wandb'}: {reason}")
        return _init(cfg, info, directory, settings, run_id, "offline", "allow")


def open_new_run(cfg: Config, info: Mapping[str, Any], directory: Path, run_id: str) -> Any:
    """Open a run that the server must not have yet; its finish() may take PUSH_SECONDS.

    Raises wandb.errors.Error if the server does know it, or cannot be reached.
    """
    with _hidden_secrets():
        return _init(cfg, info, directory, _settings(info, PUSH_SECONDS), run_id, "online", "never")


def unreachable() -> str | None:
    """Return why nothing can be sent from here: no key, or no server; else None. `wandb sync` would retry for days."""
    if not key_configured():
        return "WANDB_API_KEY: no W&B key is configured here; type `wandb login`"
    server = _server()
    try:
        with urllib.request.urlopen(server, timeout=INIT_SECONDS):
            return None
    except urllib.error.HTTPError:  # it answers
        return None
    except OSError as error:
        return f"{server}: the W&B server does not answer ({line(error)}); type the same command again when it does"


def key_configured() -> bool:
    """True if wandb will find a key without a prompt: in the environment, or in .netrc for its server."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(_server()).netloc) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def report(text: str) -> None:
    print(f"tracking: {printable(text)}", file=sys.stderr, flush=True)


def line(error: Exception) -> str:
    """Format an error in one line without secrets."""
    return " ".join(f"{type(error).__name__}: {masked(str(error))}".split())


def _server() -> str:
    import wandb

    with _hidden_secrets():
        return str(wandb.setup().settings.base_url)


def _settings(info: Mapping[str, Any], finish_seconds: float) -> Any:
    import wandb

    wanted = {
        "console": "off",
        "silent": True,
        "save_code": False,
        "disable_git": True,  # its remote URL may hold a token; the commit is given instead
        "git_commit": info["git"]["sha"],
        "init_timeout": INIT_SECONDS,
        "finish_timeout": finish_seconds,
        "x_transaction_log_flush_interval": 1.0,  # a killed run loses one second, not fifteen
        "x_stats_track_process_tree": True,  # the work is done by child processes
    }
    settings = wandb.Settings(**{key: value for key, value in wanted.items() if key in wandb.Settings.model_fields})
    wandb.setup(settings=settings)  # else messages before init, about the key, are printed
    return settings


def _init(
    cfg: Config, info: Mapping[str, Any], directory: Path, settings: Any, run_id: str, mode: str, resume: str
) -> Any:
    import wandb

    where = "slurm" if "SLURM_JOB_ID" in os.environ else "local"
    factors = content.factors(cfg, info)
    run = wandb.init(
        id=run_id,
        mode=mode,
        resume=resume,
        dir=str(directory),
        project=cfg.tracking.project,
        entity=cfg.tracking.entity,
        group=masked(content.group(cfg, info)),
        name=masked(f"{cfg.name} s{cfg.seed} {info['slug']}")[:128],
        job_type="eval" if factors["method"] == "none" else "train",
        tags=list(dict.fromkeys(masked([cfg.name, content.scale(cfg), where, *cfg.tracking.tags]))),
        config=masked(to_dict(cfg)) | factors,
        settings=settings,
    )
    for counter in (*content.COUNTERS, "base/step"):
        run.define_metric(counter, hidden=True)
    for axis, families in content.AXES.items():
        for family in families:
            run.define_metric(f"{family}/*", step_metric=axis)
    return run


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables, or remove those that are None, while the block runs. Child processes may start at
    any time, so all others stay as they are."""
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


@contextmanager
def _hidden_secrets() -> Iterator[None]:
    """Hide job tokens in the environment and secrets in argv while wandb starts its service and records both; keep
    wandb from using the service of another process."""
    tokens = {name: None for name in os.environ if name.startswith("SLURM") and SECRET.search(name)}
    argv, sys.argv = sys.argv, masked(sys.argv)
    os.environ.pop("WANDB_SERVICE", None)  # inherited: its socket belongs to another process, or is gone
    try:
        with _environment(tokens):
            yield
    finally:
        sys.argv = argv
        os.environ.pop("WANDB_SERVICE", None)  # ours: child processes and submitted jobs must not inherit it
