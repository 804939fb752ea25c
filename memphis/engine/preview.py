"""Preview of files on this disk before anything is built: whether a model can be trained, numbers of rows and tokens.

A child process (memphis/stages/preview.py) runs the code of the stages on them; this one never imports torch.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from memphis.config import Config
from memphis.devices import gpus
from memphis.engine.checkpoint import cached
from memphis.errors import MemphisError
from memphis.pipeline import KINDS, is_base
from memphis.processes import child_environment, on_polite_signals
from memphis.store import Stage, Store, read_json, write_json
from memphis.training.verdict import Verdict, choose


@dataclass(frozen=True)
class Rows:
    """Counts of a local source.

    rows: that stage data keeps. examples, tokens: of one epoch of stage sft. exact: they were counted with the run's
    tokenizer; else estimated, from a sample, or taking four characters for a token. longest, longest_prompt: tokens of
    the longest example and question; None without the tokenizer.
    """

    rows: int
    warnings: list[str]
    examples: int
    tokens: int
    exact: bool = False
    longest: int | None = None
    longest_prompt: int | None = None

    def __str__(self) -> str:
        longest = "" if self.longest is None else f", the longest has {self.longest:,} tokens"
        about = "" if self.exact else "about "
        return f"{self.rows:,} rows, {about}{self.examples:,} examples of {self.tokens:,} tokens in stage sft{longest}"


@dataclass(frozen=True)
class Preview:
    """Findings on local files; a text in place of one is the error that the stage would end with.

    verdicts: key of a stage that starts from a checkpoint -> its verdict. sources: name in data.sources -> its counts.
    """

    verdicts: dict[str, Verdict | str] = field(default_factory=dict)
    sources: dict[str, Rows | str] = field(default_factory=dict)

    @property
    def rows(self) -> dict[str, Rows]:
        return {name: found for name, found in self.sources.items() if isinstance(found, Rows)}


NOTHING = Preview()


def examine(cfg: Config, stages: Sequence[Stage], needed: Sequence[Stage], store: Store) -> Preview:
    """Examine the local models and rows that the stages to build read, in a child process if there are any.

    needed: those of the run's stages that are built now. Raises MemphisError if that process fails.
    """
    # By key: base and SFT are one stage where a checkpoint takes the place of both.
    models = {stage.key: stage for stage in needed if _given(stage) and _on_disk(stage.places["model"])}
    sources = [spec for stage in needed if KINDS[stage.kind].leaves == "rows" for spec in _local_sources(stage)]
    if not models and not sources:
        return NOTHING
    # Any signal that ends this process leaves the block first.
    with on_polite_signals(_interrupt), tempfile.TemporaryDirectory(prefix="memphis-plan-") as name:
        folder = Path(name)
        bases = [stage for stage in stages if is_base(stage)]
        places = [folder / stage.key for stage in bases if stage.key in models]
        places += [store.path(stage) for stage in bases if (store.path(stage) / "model").is_dir()]
        request = {
            "device": "auto" if gpus(cfg.runtime.device) else "cpu",
            "models": [stage.spec() for stage in models.values()],
            "sources": sources,
            "tokenizer": next((str(place / "model") for place in places), None),
            "sft": {"max_length": cfg.sft.max_length, "eos": cfg.data.eos, "overlong": cfg.data.overlong},
        }
        write_json(folder / "request.json", request)
        command = [sys.executable, "-m", "memphis.stages.preview", str(os.getpid()), name]
        env = {**child_environment(), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            last = next(iter(done.stderr.strip().splitlines()[-1:]), f"its process ended with {done.returncode}")
            raise MemphisError(f"plan=true: the files of model.path and data.sources could not be examined: {last}")
        found = TypeAdapter(Preview).validate_python(read_json(folder / "found.json"))
    for key, verdict in found.verdicts.items():
        if isinstance(verdict, str):
            found.verdicts[key] = models[key].in_typed_keys(verdict)
    return found


def _interrupt() -> None:
    raise KeyboardInterrupt


def lines(stages: Sequence[Stage], store: Store, found: Preview) -> list[str]:
    """Return a line on every checkpoint that a stage starts from, and on every local source."""
    text = []
    for stage in filter(_given, stages):
        verdict, place = _verdict(stage, store, found), stage.places["model"]
        if isinstance(verdict, str) and Path(place).exists():
            text.append(f"model: refused: {verdict}")
        elif isinstance(verdict, Verdict):
            text.append(f"model: {place}: {verdict}")
        else:
            text.append(f"model: {place}: whether its rows are packed or padded is decided in stage {stage.name}")
    for name, rows in found.sources.items():
        text.append(f"data.sources.{name}: {rows}" if isinstance(rows, Rows) else f"data: refused: {rows}")
        text += [f"warning: {warning}" for warning in (rows.warnings if isinstance(rows, Rows) else ())]
    return text


def check(stages: Sequence[Stage], needed: Sequence[Stage], store: Store, found: Preview = NOTHING) -> None:
    """Refuse what a stage to build would refuse: a checkpoint, rows, a model that cannot be trained.

    Raises MemphisError. Known are the verdicts of `found` and those in the records of finished stages.
    """
    for stage in filter(_given, stages):
        fault = found.verdicts.get(stage.key)
        if isinstance(fault, str) and Path(stage.places["model"]).exists():  # what the cache lacks may be downloaded
            raise MemphisError(fault)
    for source in found.sources.values():
        if isinstance(source, str):
            raise MemphisError(source)
    for stage in needed:
        if not KINDS[stage.kind].steps:
            continue
        taught = not (KINDS[stage.kind].cycle or is_base(stage))
        rows = list(found.rows.values()) if taught else []
        verdict = _verdict(_origin(stage), store, found)
        if isinstance(verdict, Verdict):
            choose(verdict, stage.config["model"]["packing"], max((one.longest or 0 for one in rows), default=0))
        if rows and not any(one.examples for one in rows) and len(rows) == len(stage.inputs["data"].config["sources"]):
            length, number = stage.config["sft"]["max_length"], sum(one.rows for one in rows)
            raise MemphisError(
                f"sft.max_length={length}: none of {number} rows is left; raise it, or choose other rows"
            )


def _given(stage: Stage) -> bool:
    """True for a stage that starts from a checkpoint of the user's."""
    return KINDS[stage.kind].starts and "model" in stage.places


def _origin(stage: Stage) -> Stage:
    """Return the stage that the first model among a stage's inputs was started in."""
    while not KINDS[stage.kind].starts:
        stage = next(source for role, source in stage.inputs.items() if KINDS[stage.kind].reads_model(role))
    return stage


def _verdict(stage: Stage, store: Store, found: Preview) -> Verdict | str | None:
    """Return the verdict on a stage's model; None as long as it is unknown."""
    if stage.key in found.verdicts:
        return found.verdicts[stage.key]
    if store.fault(store.path(stage)) is not None:
        return None
    known = store.record(store.path(stage))["summary"].get("packing")  # older records have none
    return TypeAdapter(Verdict).validate_python(known) if known else None


def _on_disk(place: str) -> bool:
    """True if a checkpoint is a local path, or the hub's cache has weights of it."""
    hub = cached(place.partition("@")[0], "models") / "snapshots"
    return Path(place).exists() or any(hub.glob("*/*.safetensors"))


def _local_sources(stage: Stage) -> Iterator[dict[str, Any]]:
    """Yield the spec of a data stage once for each local source, with that source alone."""
    for name, source in stage.config["sources"].items():
        places = {role: stage.places[role] for role in (name, f"{name}.heldout") if role in stage.places}
        if places and all(Path(place).exists() for place in places.values()):
            yield {**stage.spec(), "config": {**stage.config, "sources": {name: source}}, "places": places}
