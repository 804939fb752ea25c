"""Dependencies of results: READS lists what each kind of stage reads of the config, KINDS all else that distinguishes
kinds, and `Pipeline` builds the chain of stages that a recipe requests.

Everything that READS selects enters a stage's key, nothing else of the config does.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from memphis.config import Config, Source, forms, to_dict
from memphis.config.sections import ROW_FILES, Rank, Sft
from memphis.dotted import lookup
from memphis.errors import MemphisError
from memphis.paths import expanded
from memphis.store import Stage, derived_seed, file_identity

# All of the config that a kind reads. "-x" leaves x out, "-x=v" where its value is like v (null, or a pattern), "x?k=v"
# is x if k is v or has it, and "x:a>b" replaces the value a of x by b. Threads, processes and micro-batches change
# rounding alone and enter no key, except where a mean is taken over each micro-batch.
TRAINER = (
    "model.freeze_embeddings",
    "model.dtype",
    "model.master_dtype",
    "model.checkpointing",
    "model.packing",
    "data.overlong",
    "data.eos",
)
READS: dict[str, tuple[str, ...]] = {
    "data": (
        *("data.sources", "-data.sources.*.path", "-data.sources.*.revision"),  # those are external inputs
        # None, and a file, which is external too.
        *("-data.sources.*.heldout=null", "-data.sources.*.heldout=*.[jp]*", "-data.sources.*.heldout=*.[ct]sv*"),
        *("-data.sources.*.config=null", "-data.sources.*.origins=null"),
        *("data.max_drop_frac", "data.min_rationale_chars"),
    ),
    "base": ("model.base",),
    "sft": (
        *("sft", "-sft.from", "-sft.continued", "-sft.optim.allow_large_steps", *TRAINER),
        "runtime.micro_batch_tokens?sft.reduction=microbatch_mean",
    ),
    "generate": ("generate", "model.dtype"),
    "pairs": (
        *("pairs", "-pairs.answer.fallback=True", "-pairs.check=none"),
        "rank.examples:rationalized>correct",
    ),
    "rank": (  # of the loss: the knobs that it owns
        *("rank", "-rank.start", "-rank.examples", "-rank.optim.allow_large_steps", *TRAINER),
        "runtime.micro_batch_tokens?rank.reduction=microbatch_mean",
    ),
    "merge": ("slerp",),
    "evaluate": (
        *("eval.suites", "eval.limit", "eval.seeds", "eval.allow_truncated", "model.dtype", "generate.engine"),
        *("eval.tasks", "-eval.tasks=[]", "eval.shots", "-eval.shots=0"),
        *("generate.max_new_tokens?eval.suites=heldout", "pairs.answer?eval.suites=heldout"),
        "-pairs.answer.fallback=True",
    ),
}


@dataclass(frozen=True)
class External:
    """An input from outside the store. role: its name in the stage. key: the config key that errors name. rows: it may
    be a file; any other one is a directory."""

    role: str
    key: str
    path: str
    revision: str | None = None
    rows: bool = False


def _sources(cfg: Config) -> list[External]:
    found = [(name, source) for name, source in cfg.data.sources.items() if isinstance(source, Source)]
    files = [(name, source.heldout_file) for name, source in found]
    return [
        *(External(n, f"data.sources.{n}.path", s.path, s.revision, rows=True) for n, s in found),
        *(
            External(f"{n}.heldout", f"data.sources.{n}.heldout", file, rows=True)
            for n, file in files
            if file is not None
        ),
    ]


def _checkpoint(cfg: Config) -> list[External]:
    """Return the model to start from, unless it is built."""
    path, revision = cfg.model.path, cfg.model.revision
    if path is None or cfg.model.base is not None:
        return []
    return [External("model", "sft.from" if path == cfg.sft.from_ else "model.path", path, revision)]


def _benchmarks(cfg: Config) -> list[External]:
    return [] if cfg.eval.data_dir is None else [External("benchmarks", "eval.data_dir", cfg.eval.data_dir)]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Properties of a kind of stage.

    version: enters every key of the kind and of all that read it; bump it when the kind's results change
        (tests/test_versions.py says when that is due).
    form: the type of its config. flat: the config is keyed by the last part of the dotted keys alone.
    title: its name for people. family: prefix of its metrics. leaves: its output, which others read.
    needs: what a process must hold to run it; None = fits anywhere.
    cycle: it is built in every cycle, whose number is in its name and in its seed.
    knobs: section of its training settings; its optimizer steps count on the run's own axis. None = it has no such.
    devices: it can use several. hours: of a GPU, estimated, for a stage of the 3B recipe; what a laptop needs has about
        the same proportions.
    keep: of a kind that leaves a model, the least `runtime.keep` that keeps its weights: "final" (in any case),
        "iterations", or "all" (a merge supersedes them). reads_weights: roles whose weights it reads.
    seed: what its draws are derived from; None where it draws nothing. salt: role -> word by which the draws differ
        from those of a stage without that input.
    external: inputs from outside the store. reads_if: roles that are inputs under a condition. given: a checkpoint that
        is used in place of the stage. instead: the role of the input that replaces it if there is nothing to do.
    """

    version: int = 1
    form: type[Any]
    flat: bool = False
    title: str
    family: str
    leaves: Literal["rows", "model", "samples", "judged", "scores"]
    needs: Literal["trainer", "engine", None] = None
    cycle: bool = False
    knobs: Callable[[Config], Sft | Rank] | None = None
    devices: bool = False
    hours: float = 0.0
    keep: Literal["final", "iterations", "all", None] = None
    reads_weights: tuple[str, ...] = ()
    seed: Callable[[Config], int | None] = lambda cfg: None
    salt: Mapping[str, str] = field(default_factory=dict)
    external: Callable[[Config], Sequence[External]] = lambda cfg: ()
    reads_if: Mapping[str, Callable[[Config], bool]] = field(default_factory=dict)
    given: Callable[[Config], Sequence[External]] = lambda cfg: ()
    instead: Callable[[Config], str | None] = lambda cfg: None

    def reads_model(self, role: str) -> bool:
        """True if the kind reads the weights of its input `role`; a numbered one, as `models-2`, counts as `models`."""
        name, _, number = role.rpartition("-")
        return (name if number.isdigit() else role) in self.reads_weights

    @property
    def steps(self) -> bool:
        """True if it makes optimizer steps that count on the run's own axis."""
        return self.knobs is not None

    @property
    def optimizes(self) -> bool:
        """True if it makes optimizer steps, with a row of metrics for each."""
        return self.leaves == "model" and self.needs == "trainer"

    @property
    def starts(self) -> bool:
        """True if it leaves a model that is made from no other."""
        return self.leaves == "model" and not self.reads_weights

    @property
    def merges(self) -> bool:
        """True if it leaves a model that is made from others without training."""
        return self.leaves == "model" and not self.needs

    @property
    def writes(self) -> bool:
        """True if it leaves weights made from others, whose disk space `runtime.keep` limits."""
        return self.leaves == "model" and not self.starts

    def kept(self, keep: str, merged: bool) -> bool:
        """True if `keep`, a value of `runtime.keep`, keeps its weights. merged: merges supersede a cycle's weights."""
        mine = self.keep if merged or self.keep != "all" else "iterations"
        return mine is not None and KEEP.index(keep) >= KEEP.index(mine)


KEEP = ("final", "iterations", "all")  # values of `runtime.keep`, the least first
KINDS = {
    "data": Kind(
        form=forms.DataForm,
        flat=True,
        title="data",
        family="data",
        leaves="rows",
        seed=lambda cfg: cfg.data.seed,
        external=_sources,
    ),
    "base": Kind(
        form=forms.BaseForm,
        flat=True,
        title="base",
        family="base",
        leaves="model",
        needs="trainer",
        devices=True,
        keep="final",
        seed=lambda cfg: cfg.model.base.seed if cfg.model.base else None,
        external=_checkpoint,
    ),
    "sft": Kind(
        version=2,
        form=forms.SftForm,
        title="SFT",
        family="sft",
        leaves="model",
        needs="trainer",
        knobs=lambda cfg: cfg.sft,
        devices=True,
        hours=0.15,
        keep="iterations",
        reads_weights=("model",),
        seed=lambda cfg: cfg.seed,
        salt={"budget": "continued"},
        given=lambda cfg: [External("model", "sft.from", cfg.sft.from_)] if cfg.sft.from_ else [],
        instead=lambda cfg: "model" if cfg.sft.skipped else None,
    ),
    "generate": Kind(
        version=2,
        form=forms.GenerateForm,
        title="generate",
        family="gen",
        leaves="samples",
        needs="engine",
        cycle=True,
        devices=True,
        hours=0.17,
        reads_weights=("model",),
        seed=lambda cfg: cfg.seed,
        salt={"judged": "hinted"},
    ),
    "pairs": Kind(
        version=2,
        form=forms.PairsForm,
        flat=True,
        title="pairs",
        family="pairs",
        leaves="judged",
        needs="trainer",
        cycle=True,
        seed=lambda cfg: cfg.seed if cfg.pairs.order == "shuffle" else None,
    ),
    "rank": Kind(
        version=2,
        form=forms.RankForm,
        title="rank",
        family="rank",
        leaves="model",
        needs="trainer",
        cycle=True,
        knobs=lambda cfg: cfg.rank,
        devices=True,
        hours=0.10,
        keep="all",
        reads_weights=("model",),
        seed=lambda cfg: cfg.seed,
        reads_if={"data": lambda cfg: cfg.rank.objective.gold},
    ),
    "merge": Kind(
        form=forms.MergeForm,
        title="merge",
        family="merge",
        leaves="model",
        cycle=True,
        hours=0.01,
        keep="iterations",
        reads_weights=("previous", "updated", "sft"),
        instead=lambda cfg: "updated" if cfg.slerp.method == "none" else None,
    ),
    "evaluate": Kind(
        version=2,
        form=forms.EvaluateForm,
        title="evaluate",
        family="eval",
        leaves="scores",
        needs="engine",
        hours=0.12,
        reads_weights=("model",),
        external=_benchmarks,
        reads_if={"data": lambda cfg: cfg.eval.own},
    ),
}
BUDGET = "budget-"  # prefix of SFT's roles for stages that set how long it trains: nothing else of them is read


class Pipeline:
    """Builder of a recipe's stages, called once for each; `stages` returns those that are needed.

    cache: file that remembers the sha256 of local inputs by path, size and mtime.
    """

    def __init__(self, cfg: Config, cache: Path) -> None:
        self._cfg, self._cache = cfg, cache
        self._plain = to_dict(cfg)
        self._scored: set[str] = set()  # keys of models that are evaluated
        self._chain: dict[tuple[str, str], Stage] = {}  # by name and key, in the order in which they were requested
        self.iterations = cfg.iterations if cfg.rank.objective.terms else 0

    def __call__(
        self,
        kind: str,
        k: int = 0,
        *,
        name: str | None = None,
        plain: dict[str, Any] | None = None,
        **inputs: Stage | Sequence[Stage],
    ) -> Stage:
        """Add a stage of `kind`, in cycle k. Several inputs of one role are numbered; name: in place of the kind's.

        plain: the config that it reads, if that is not the run's.
        """
        row = KINDS[kind]
        if (role := row.instead(self._cfg)) is not None:
            stage = inputs[role]
            assert isinstance(stage, Stage)
            return stage
        salt = [word for role, word in row.salt.items() if role in inputs]
        if not salt and (given := row.given(self._cfg)):
            return self._add(Stage(name or kind, "base", KINDS["base"].version, {"base": None}), given)
        read: dict[str, Stage] = {}
        for role, found in inputs.items():
            if role in row.reads_if and not row.reads_if[role](self._cfg):
                continue
            if isinstance(found, Stage):
                read[role] = found
            else:
                read |= {f"{role}-{number}": stage for number, stage in enumerate(found, 1)}
        seed = row.seed(self._cfg)
        if seed is not None:
            seed = derived_seed(seed, kind, *([k] if row.cycle else []), *salt)
        title = f"{name or kind}-{k}" if row.cycle else name or kind
        stage = Stage(title, kind, row.version, cut(kind, plain or self._plain), read, seed, iteration=k)
        return self._add(stage, row.external(self._cfg))

    def evaluate(self, model: Stage, data: Stage, *, at: str, between: bool = False) -> None:
        """Add an evaluation of `model`, if `eval.at` requests one here and it has none yet.

        between: it is neither the first model nor the last, so `eval.limit_between` holds, if set.
        """
        knobs = self._cfg.eval
        if knobs.names and knobs.at == at:
            limit = knobs.limit_between if between and model.key not in self._scored else None
            self._scored.add(model.key)
            plain = self._plain | {"eval": self._plain["eval"] | {"limit": limit}} if limit else None
            label = str(model.iteration) if KINDS[model.kind].cycle else model.name
            self("evaluate", model.iteration, name=f"evaluate-{label}", plain=plain, model=model, data=data)

    def _add(self, stage: Stage, external: Sequence[External]) -> Stage:
        for item in external:
            stage.external[item.role], stage.places[item.role] = _identity(item, self._cache)
            stage.typed[item.role] = item.key
        return self._chain.setdefault((stage.name, stage.key), stage)

    def stages(self, result: Stage) -> list[Stage]:
        """Return the stages in the order of the calls: up to `until`, or those that the result and the evaluations are
        made from (not data of a model that is only evaluated, nor the last merge if only a cycle's length counts).
        """
        chain, until = list(self._chain.values()), self._cfg.until
        if until:
            ends = [index for index, stage in enumerate(chain) if until in (stage.name, stage.kind)]
            if not ends:
                names = ", ".join(stage.name for stage in chain)
                raise MemphisError(f"until={until}: no such stage; stages are {names}")
            return chain[: ends[-1] + 1]
        wanted = {result.key, *(stage.key for stage in chain if KINDS[stage.kind].leaves == "scores")}
        for stage in reversed(chain):
            if stage.key in wanted:
                wanted.update(source.key for source in stage.inputs.values())
        return [stage for stage in chain if stage.key in wanted]


def cut(kind: str, plain: dict[str, Any]) -> dict[str, Any]:
    """Select what a kind reads of a config (`to_dict`)."""
    found: dict[str, Any] = {}
    section = ""  # the entry that those with "-" take away from
    for entry in READS[kind]:
        key, _, condition = entry.partition("?")
        if condition:
            value, wanted = lookup(plain, condition.partition("=")[0]), condition.partition("=")[2]
            if wanted != value and not (isinstance(value, list) and wanted in value):
                continue
        key, _, alias = key.partition(":")
        if key.startswith("-"):
            name, _, like = key[1:].partition("=")
            parts = name.split(".")
            _leave_out(found, parts[section.count(".") :] if KINDS[kind].flat else parts, like)
            continue
        section = key
        value = copy.deepcopy(lookup(plain, key))
        if alias and value == alias.partition(">")[0]:
            value = alias.partition(">")[2]
        # Keys of `runtime`, too, go by their last part alone: it is no section of a stage.
        path = key.split(".")[-1:] if KINDS[kind].flat or key.startswith("runtime.") else key.split(".")
        place = found
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return found


def _leave_out(found: dict[str, Any], path: list[str], like: str) -> None:
    """Remove the value at `path`; `*` stands for every key. like: only a value that matches; "" = any."""
    for key in list(found) if path[0] == "*" else [path[0]]:
        if len(path) > 1:
            if isinstance(found.get(key), dict):
                _leave_out(found[key], path[1:], like)
        elif key in found and (not like or fnmatchcase("null" if found[key] is None else str(found[key]), like)):
            del found[key]


def _identity(item: External, cache: Path) -> tuple[str, str]:
    """Return (what enters the key, location): `repo@revision` on the hub, sha256 of the files for a local path."""
    local, path = expanded(item.path), item.path
    try:
        if local.is_file() and not item.rows:
            raise MemphisError(f"{item.key}={path!r}: a file, and a directory is needed; try {str(local.parent)!r}")
        if local.exists():
            return file_identity(local, cache), str(local.absolute())
    except OSError as error:  # a directory that must not be entered, a name too long
        raise MemphisError(f"{item.key}={path!r}: {(error.strerror or str(error)).lower()}") from error
    if path.startswith((".", "/", "~", "$")) or path.count("/") != 1 or path.endswith(ROW_FILES):
        raise MemphisError(f"{item.key}={path!r}: no such file or directory, and not a hub id (owner/name)")
    return (f"{path}@{item.revision or 'main'}",) * 2


def trains(kind: str, config: dict[str, Any]) -> bool:
    """True if such a stage makes optimizer steps; on several devices it does so in processes that torchrun starts."""
    return KINDS[kind].optimizes and config.get("base", config) is not None


def spreads(kind: str, config: dict[str, Any]) -> bool:
    """True if such a stage can use several devices."""
    return KINDS[kind].devices and (KINDS[kind].needs == "engine" or trains(kind, config))


def is_base(stage: Stage) -> bool:
    """True for the model that the run starts from; not for a checkpoint that is used in place of a later stage."""
    return KINDS[stage.kind].starts and stage.name == stage.kind


def evaluated(name: str) -> str:
    """Return the readable name of the model that evaluation `name` scores: `base`, `SFT continued`, `iteration 2`."""
    label = name.removeprefix("evaluate-")
    kind, _, rest = label.partition("-")
    return f"{KINDS[kind].title} {rest}".rstrip() if kind in KINDS else f"iteration {label}"
