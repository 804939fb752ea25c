"""Conversion of what Hydra composed to one frozen `Config`, and back.

`register` gives Hydra every key with its default; `from_hydra` refuses unknown keys (also after `+`), wrong types,
values out of range and combinations that make no sense, all at once. This package deliberately knows nothing of stages
or files, and asks the machine for one thing, what `model.dtype=auto` means here.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from textwrap import fill
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from memphis.config.checks import contradictions, ignored
from memphis.config.faults import joined, line
from memphis.config.keys import quoted
from memphis.config.sections import Config, Model, Pairs, Rank, Runtime, Sft, Source, TinyTask
from memphis.devices import computes_bfloat16
from memphis.dotted import flatten, lookup
from memphis.errors import MemphisError
from memphis.losses import KNOBS, LOSSES
from memphis.paths import runs_root
from memphis.privacy import masked

__all__ = ["Config", "Model", "Rank", "Runtime", "Sft", "Source", "TinyTask"]

_ADAPTER = TypeAdapter(Config)

# Keys of `runtime` that are passed to a stage, beside its own config.
FOR_STAGES = ("device", "num_devices", "micro_batch_tokens", "compile", "threads")
# Keys that enter no stage's key and therefore no run directory's name.
FREE = ("runtime", "tracking", "name", "plan", "until", "seed", "exp", "sweep")


def register() -> None:
    """Register `schema`, the first entry of conf/config.yaml's defaults list: every key with its default.

    It has the knobs of all losses, so that each can be overridden; `from_hydra` keeps those of the chosen one. And
    what conf/config.yaml itself asks for: the directory of a multirun, the keys that `--help` lists.
    """
    from hydra.core.config_store import ConfigStore  # imported here: child processes do not need it

    plain = to_dict(Config(name="memphis"))
    for name, loss in LOSSES.items():
        knobs = {knob: getattr(loss(), knob) for knob in sorted(KNOBS[name])}
        plain["rank"] = {"loss": plain["rank"]["loss"], **knobs, **plain["rank"]}
    node = OmegaConf.create(plain)
    OmegaConf.set_struct(node.data.sources, False)  # the user chooses the sources and their kinds
    ConfigStore.instance().store(name="schema", node=node)
    OmegaConf.register_new_resolver("memphis.root", lambda root: str(runs_root(root)), replace=True)
    OmegaConf.register_new_resolver("memphis.keys", _help, replace=True)


def _help(*, _root_: DictConfig) -> str:
    """Return the keys with their values as YAML; those without effect beside the others stand by name at the end."""
    plain = cast(
        dict[str, Any],
        OmegaConf.to_container(OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])),
    )
    flat = flatten(plain)
    idle = sorted(key for key in flat if ignored(plain, [key]))
    shown = OmegaConf.create()
    for key in flat:
        if key not in idle:
            OmegaConf.update(shown, key, flat[key])
    text = OmegaConf.to_yaml(shown)
    if idle:
        names = f"Without effect beside these values, used by other methods: {', '.join(idle)}"
        text += f"\n{fill(names, 120, subsequent_indent='  ', break_on_hyphens=False)}\n"
    return text.replace("$", "$$")  # Hydra fills in what follows a single one


def from_hydra(composed: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Check what Hydra composed and return it as a frozen Config.

    overrides: from the command line (`HydraConfig.get().overrides.task`); only needed to refuse knobs that the chosen
        method would ignore.
    Raises MemphisError that lists every error, one line each.
    """
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key, reason = getattr(error, "full_key", None) or "config", str(error).splitlines()[0]
        word = _texts(overrides).get(key, "")
        text = f"; for the text itself type {masked(quoted(word))}" if "${" in word else ""
        raise MemphisError(f"{key}: {reason}{text}") from error
    return from_dict(cast(dict[str, Any], plain), overrides)


def from_dict(plain: dict[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Check a plain nested dictionary like `from_hydra` (a frozen config.yaml, also of an earlier version)."""
    try:
        plain = _with_dtype(today(plain))
        config = _ADAPTER.validate_json(json.dumps(plain))
    except ValidationError as error:
        raise MemphisError(joined([line(item, _texts(overrides)) for item in error.errors()])) from None
    start = config.sft.from_ if config.model.base is None and not config.sft.skipped else None
    if config.model.path is None and start is not None:  # the checkpoint is the model to start from, too
        config = replace(config, model=replace(config.model, path=start))
    # A key that was deleted does not ask for its default; a source and a shape need not say everything.
    missing = flatten(to_dict(config)).keys() - flatten(plain).keys()
    optional = ("data.sources.", "model.shape.")
    faults = [f"{key}: missing; set {key}=…" for key in sorted(missing) if not key.startswith(optional)]
    faults = faults or [*contradictions(config), *ignored(plain, overrides)]
    if faults:
        raise MemphisError(joined(faults))
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Return the config as the plain dictionary that `from_dict` reads."""
    plain = _ADAPTER.dump_python(config, mode="json", by_alias=True)
    assert isinstance(plain, dict)
    return plain


def fits(key: str, value: Any) -> bool:
    """True if the value by itself is one that the key can have."""
    plain = to_dict(Config(name="memphis"))
    *path, last = key.split(".")
    place = plain
    for part in path:
        place[part] = place.get(part) or ({"kind": "cot"} if place is plain["data"]["sources"] else {})
        place = place[part]
        if not isinstance(place, dict):
            return False
    place[last] = value
    try:
        _ADAPTER.validate_json(json.dumps(today(plain)))
    except ValidationError as error:
        return not any(re.match(rf"{re.escape(key)}[=:.]", line(item)) for item in error.errors())
    return True


def _texts(overrides: Sequence[str]) -> dict[str, str]:
    """Return key -> word as it was typed, of words whose value could be the key's as text."""
    words = {word.lstrip("+").partition("=")[0]: word for word in overrides}
    return {key: word for key, word in words.items() if fits(key, word.partition("=")[2])}


def for_stages(config: Config) -> dict[str, Any]:
    """Return the settings that a stage's process gets beside the configs of its stages; they enter no key.

    allow_large_steps: sections whose optimizer has that set.
    """
    allowed = [name for name in ("sft", "rank") if getattr(config, name).optim.allow_large_steps]
    return {key: getattr(config.runtime, key) for key in FOR_STAGES} | {"allow_large_steps": allowed}


def slug(overrides: Sequence[str]) -> str:
    """Return a directory name for the overrides, without seed, name, exp, sweep and keys that enter no stage's key.

    The order of the overrides does not matter. Never empty; cut and hashed at 120 characters.
    """
    kept = sorted(text for item in overrides if (text := item.lstrip("+~")).split("=")[0].split(".")[0] not in FREE)
    name = "_".join("".join(c if c.isalnum() or c in "._-" else "-" for c in text) for text in kept) or "default"
    if len(name) <= 120:
        return name
    return f"{name[:100]}-{sha256(name.encode()).hexdigest()[:12]}"


def today(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a config of an earlier version, or of Hydra, with keys added since at their default, without removed keys
    and knobs of losses not chosen."""
    found = dict(plain)
    model, rank = plain.get("model"), plain.get("rank")
    if isinstance(model, dict):
        kept = {key: value for key, value in model.items() if (key, value) != ("attention", "rows")}
        found["model"] = {"packing": Model().packing, **kept}
    if isinstance(pairs := plain.get("pairs"), dict):
        found["pairs"] = {"check": Pairs().check, **pairs}
        if isinstance(answer := pairs.get("answer"), dict):
            found["pairs"]["answer"] = {"fallback": Pairs().answer.fallback, **answer}
    if isinstance(plain.get("runtime"), dict):
        found["runtime"] = {"threads": Runtime().threads, **plain["runtime"]}
    if isinstance(evaluation := plain.get("eval"), dict):
        found["eval"] = {"tasks": [], "limit_between": None, "shots": 0, **evaluation}
    if isinstance(data := plain.get("data"), dict) and isinstance(sources := data.get("sources"), dict):
        read = {n: s for n, s in sources.items() if isinstance(s, dict) and s.get("kind") != "tiny"}
        found["data"] = {
            **data,
            "sources": sources | {n: {"config": None, "heldout": None, "origins": None, **s} for n, s in read.items()},
        }
    added = {key: getattr(Sft().optim, key) for key in ("eps", "beta_decay", "allow_large_steps")}
    for name in ("sft", "rank"):
        if isinstance(section := plain.get(name), dict) and isinstance(section.get("optim"), dict):
            found[name] = {**section, "optim": added | section["optim"]}
    rank = found.get("rank")
    if isinstance(rank, dict) and str(rank.get("loss")) in LOSSES:
        foreign = set().union(*KNOBS.values()) - KNOBS[rank["loss"]]
        found["rank"] = {key: value for key, value in rank.items() if key not in foreign}
    return found


def _with_dtype(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the config with what `model.dtype=auto` means on this machine, so that keys and records say which it was.

    With runtime.device=cuda it is bfloat16, also where no GPU is visible: a login node plans what a GPU node builds.
    """
    if not isinstance(plain.get("model"), dict) or plain["model"].get("dtype") != "auto":
        return plain
    device = lookup(plain, "runtime.device")
    found = "bfloat16" if device == "cuda" or computes_bfloat16(str(device)) else "float32"
    return {**plain, "model": {**plain["model"], "dtype": found}}
