"""Checkpoint that a run starts from, as far as files on this disk and the config tell: directory, shape, size, context.

Needs no hub, no torch and no data.
"""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants

from memphis.config import Config
from memphis.config.sections import TinyBase
from memphis.errors import MemphisError
from memphis.paths import expanded
from memphis.pipeline import is_base
from memphis.shape import Shape, from_config
from memphis.store import Stage, Store, read_json
from memphis.training.tensors import check_whole


def shape_of(cfg: Config, stages: Sequence[Stage], store: Store) -> Shape | None:
    """Return the shape of the run's model, from files on this disk, else from the config; None if neither has it."""
    if cfg.model.base is not None:
        return built_shape(cfg.model.base)
    place = checkpoint_of(cfg, stages, store)
    return read_shape(place) if place else cfg.model.shape


def built_shape(base: TinyBase) -> Shape:
    """Return the shape of a base model that is built here."""
    return Shape(
        hidden=base.hidden,
        layers=base.layers,
        heads=base.heads,
        kv_heads=base.heads,
        intermediate=base.intermediate,
        vocab_size=base.vocab_size,
    )


def checkpoint_of(cfg: Config, stages: Sequence[Stage], store: Store) -> Path | None:
    """Return the directory of the model to start from, also in the hub's cache; None if it is not on this disk."""
    path, revision = cfg.model.path or "", cfg.model.revision or "main"
    built = [store.path(stage) / "model" for stage in stages if is_base(stage)]
    hub = cached(path, "models")
    named = hub / "refs" / revision
    commit = named.read_text().strip() if path and named.is_file() else revision
    places = [expanded(path), *built, hub / "snapshots" / commit]
    return next((place for place in places if (place / "config.json").is_file()), None)


def parameters_of(cfg: Config, stages: Sequence[Stage], store: Store) -> int | None:
    """Return the number of weights of the run's model: by the headers of its files, the config, or its shape."""
    place = checkpoint_of(cfg, stages, store)
    with contextlib.suppress(MemphisError):  # damaged, or not all of them there
        if place is not None and cfg.model.base is None:
            return sum(math.prod(tensor.shape) for tensor in check_whole(place).values())
    shape = shape_of(cfg, stages, store)
    return cfg.model.parameters or (shape.weights if shape else None)


def context_of(directory: Path) -> int | None:
    """Return the largest number of tokens that a checkpoint's config.json names; None if it names none."""
    try:
        plain = read_json(directory / "config.json")
        text = plain.get("text_config") or plain
        found = next((text[key] for key in ("max_position_embeddings", "n_positions") if key in text), None)
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None


def read_shape(directory: Path) -> Shape | None:
    """Return the shape of a checkpoint directory; None if its config.json cannot be read."""
    try:
        return from_config(read_json(directory / "config.json"))
    except (OSError, ValueError):
        return None


def cached(path: str, kind: str) -> Path:
    """Return the directory of a hub id in the cache, there or not. kind: `models` or `datasets`."""
    return Path(constants.HF_HUB_CACHE) / f"{kind}--{path.replace('/', '--')}"
