"""The method as a list of stages: the only file that knows the order, and what each kind reads of the config."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memphis.config import READ_BY, Config, Source, lookup, to_dict
from memphis.errors import MemphisError
from memphis.stages import BUDGET, KINDS
from memphis.store import Stage, derived_seed, file_identity

# (rank.loss, rank.examples, rank.start) -> the method that these choices are.
_METHODS = {
    ("rank", "pairs", "previous"): "memphis",
    ("ce", "correct", "sft"): "star",
    ("ce", "correct", "previous"): "rft",
    ("spin", "human", "previous"): "spin",
    ("dpo", "pairs", "previous"): "dpo",
}


def method_name(plain: dict[str, Any]) -> str:
    """The method that a configuration (`to_dict`, or a run's config.yaml) amounts to, however it was typed: a file of
    conf/method; choices that none of them makes are spelled out, such as `ce-correct-base`."""
    if lookup(plain, "sft.continued"):
        return "sft_continued"
    loss, examples, start = (lookup(plain, f"rank.{key}") for key in ("loss", "examples", "start"))
    if loss == "none" or lookup(plain, "iterations") == 0:
        return "none" if lookup(plain, "sft.from") == "base" else "sft_only"
    return _METHODS.get((loss, examples, start), f"{loss}-{examples}-{start}")


def recipe(cfg: Config, cache: Path) -> list[Stage]:
    """SFT, then `iterations` times generate, pairs, rank, merge; evaluations in between. Every stage once, in order.

    With `sft.continued` the model of the run is another: SFT goes on for as long as the cycles trained.

    cache: file that remembers the sha256 of local inputs by path, size and mtime.
    """
    make = _Maker(cfg, cache)
    data = make.data()
    base = make.base()
    model = sft = make.sft(data, base)
    chain: list[Stage | None] = [data, base, *([sft] if sft is not base else [])]
    if cfg.eval.at == "every":
        chain += [make.evaluate(stage, data) for stage in dict.fromkeys([base, sft])]
    cycles = []
    for k in range(1, make.iterations + 1):
        samples = make.generate(k, model, data)
        pairs = make.pairs(k, data, samples)
        chain += [samples, pairs]
        if cfg.rank.examples == "rationalized":
            hinted = make.rationalize(k, model, data, pairs)
            pairs = make.pairs(k, data, samples, hinted)
            chain += [hinted, pairs]
        updated = make.rank(k, {"previous": model, "sft": sft, "base": base}[cfg.rank.start], pairs, data)
        merged = make.merge(k, model, updated, sft) if cfg.slerp.method != "none" else updated
        chain += [updated, *([merged] if merged is not updated else [])]
        cycles.append(updated)
        model = merged
        if cfg.eval.at == "every" and not cfg.sft.continued:
            chain.append(make.evaluate(model, data))
    if cfg.sft.continued and cycles:
        model = make.continued(sft, cycles, data)
        chain.append(model)
    if cfg.eval.at == "final" or model.name == "sft-continued":
        chain.append(make.evaluate(model, data))
    found = [stage for stage in chain if stage is not None]
    return _until(found, cfg.until) if cfg.until else _read(found, model)


class _Maker:
    """Cuts out of the config what each kind reads: everything here enters a key, everything else does not."""

    def __init__(self, cfg: Config, cache: Path) -> None:
        self.cfg = cfg
        self.cache = cache
        self.plain = to_dict(cfg)
        self.iterations = cfg.iterations if cfg.rank.loss != "none" else 0

    def data(self) -> Stage:
        config = _only(self.plain["data"], "sources", "max_drop_frac", "min_rationale_chars")
        outside = _Outside(self.cache)
        for name, source in self.cfg.data.sources.items():
            if isinstance(source, Source):
                outside.add(name, f"data.sources.{name}.path", source.path, source.revision)
                config["sources"][name] = _without(config["sources"][name], "path", "revision")
        return _stage("data", "data", config, seed=derived_seed(self.cfg.data.seed, "data"), outside=outside)

    def base(self) -> Stage:
        model = self.cfg.model
        if model.base is not None:
            return _stage(
                "base", "base", _only(self.plain["model"], "base"), seed=derived_seed(model.base.seed, "base")
            )
        assert model.path is not None
        return self._checkpoint("base", "model.path", model.path, model.revision)

    def _checkpoint(self, name: str, key: str, path: str, revision: str | None) -> Stage:
        outside = _Outside(self.cache)
        outside.add("model", key, path, revision)
        return _stage(name, "base", {"base": None}, outside=outside)

    def sft(self, data: Stage, base: Stage) -> Stage:
        if self.cfg.sft.from_ == "base":
            return base
        if self.cfg.sft.from_ is not None:
            return self._checkpoint("sft", "sft.from", self.cfg.sft.from_, None)
        return _stage("sft", "sft", self._sft(), {"data": data, "model": base}, derived_seed(self.cfg.seed, "sft"))

    def continued(self, sft: Stage, cycles: list[Stage], data: Stage) -> Stage:
        """The control of self-teaching: the human rationales of the same questions, for as long as `cycles` trained."""
        inputs = {"data": data, "model": sft, **{f"{BUDGET}{k}": stage for k, stage in enumerate(cycles, 1)}}
        seed = derived_seed(self.cfg.seed, "sft", "continued")
        return _stage("sft-continued", "sft", self._sft(), inputs, seed, len(cycles))

    def _sft(self) -> dict[str, Any]:
        return {"sft": _without(self.plain["sft"], "from", "continued"), **self._trainer(self.cfg.sft.reduction)}

    def generate(self, k: int, model: Stage, data: Stage) -> Stage:
        seed = derived_seed(self.cfg.seed, "generate", k)
        return _stage(f"generate-{k}", "generate", self._generate(), {"data": data, "model": model}, seed, k)

    def rationalize(self, k: int, model: Stage, data: Stage, judged: Stage) -> Stage:
        """What no sample got right is asked again, with the answer as a hint."""
        inputs = {"data": data, "model": model, "judged": judged}
        seed = derived_seed(self.cfg.seed, "generate", k, "hinted")
        return _stage(f"rationalize-{k}", "generate", self._generate(), inputs, seed, k)

    def _generate(self) -> dict[str, Any]:
        return {"generate": self.plain["generate"], "model": _only(self.plain["model"], "dtype")}

    def pairs(self, k: int, data: Stage, samples: Stage, hinted: Stage | None = None) -> Stage:
        rationalized = self.cfg.rank.examples == "rationalized"
        config = {"pairs": self.plain["pairs"], "examples": "correct" if rationalized else self.cfg.rank.examples}
        inputs = {"data": data, "samples": samples, **({"hinted": hinted} if hinted else {})}
        seed = derived_seed(self.cfg.seed, "pairs", k) if self.cfg.pairs.order == "shuffle" else None
        return _stage(f"judge-{k}" if rationalized and not hinted else f"pairs-{k}", "pairs", config, inputs, seed, k)

    def rank(self, k: int, model: Stage, pairs: Stage, data: Stage) -> Stage:
        rank = self.cfg.rank
        unread = [knob for knob, losses in READ_BY.items() if rank.loss not in losses]
        knobs = _without(self.plain["rank"], "start", "examples", *unread)
        gold = rank.loss == "rank" and rank.ce_target == "gold"
        config = {"rank": knobs, **self._trainer(rank.reduction)}
        inputs = {"model": model, "pairs": pairs, **({"data": data} if gold else {})}
        return _stage(f"rank-{k}", "rank", config, inputs, derived_seed(self.cfg.seed, "rank", k), k)

    def merge(self, k: int, previous: Stage, updated: Stage, sft: Stage) -> Stage:
        inputs = {"previous": previous, "updated": updated, "sft": sft}
        return _stage(f"merge-{k}", "merge", {"slerp": self.plain["slerp"]}, inputs, iteration=k)

    def evaluate(self, model: Stage, data: Stage) -> Stage | None:
        ev = self.cfg.eval
        if not ev.suites:
            return None
        config = {
            "eval": _only(self.plain["eval"], "suites", "limit", "seeds", "allow_truncated"),
            "model": _only(self.plain["model"], "dtype"),
            **_only(self.plain, "generate.engine"),
        }
        inputs = {"model": model, **({"data": data} if {"tiny", "dev"} & set(ev.suites) else {})}
        outside = _Outside(self.cache)
        if ev.data_dir is not None:
            outside.add("benchmarks", "eval.data_dir", ev.data_dir, None)
        label = model.name if model.kind in ("base", "sft") else str(model.iteration)
        return _stage(f"evaluate-{label}", "evaluate", config, inputs, None, model.iteration, outside)

    def _trainer(self, reduction: str) -> dict[str, Any]:
        """What both trained kinds read beside their own section."""
        config: dict[str, Any] = {
            "model": _only(
                self.plain["model"], "freeze_embeddings", "dtype", "master_dtype", "attention", "checkpointing"
            ),
            "data": _only(self.plain["data"], "overlong", "eos"),
        }
        if reduction == "microbatch_mean":  # the only reduction whose result depends on how the batch is cut
            config["micro_batch_tokens"] = self.cfg.runtime.micro_batch_tokens
        return config


@dataclass
class _Outside:
    """What a stage reads from outside the store: whose content it is, and where it lies."""

    cache: Path
    external: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def add(self, role: str, key: str, path: str, revision: str | None) -> None:
        """`repo@revision` on the hub, the sha256 of the files for a local path. key: the config key it comes from."""
        local = Path(path).expanduser()
        if local.exists():
            self.external[role], self.places[role] = file_identity(local, self.cache), str(local.absolute())
        elif path.startswith((".", "/", "~")) or path.count("/") != 1 or path.endswith((".jsonl", ".json", ".parquet")):
            raise MemphisError(f"{key}={path!r}: no such file or directory, and not a hub id (owner/name)")
        else:
            self.external[role] = self.places[role] = f"{path}@{revision or 'main'}"


def _stage(
    name: str,
    kind: str,
    config: dict[str, Any],
    inputs: dict[str, Stage] | None = None,
    seed: int | None = None,
    iteration: int = 0,
    outside: _Outside | None = None,
) -> Stage:
    external, places = (outside.external, outside.places) if outside else ({}, {})
    return Stage(name, kind, KINDS[kind].version, config, inputs or {}, seed, external, places, iteration)


def _only(plain: dict[str, Any], *keys: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key in keys:
        head, _, rest = key.partition(".")
        kept |= {head: _only(plain[head], rest) if rest else plain[head]}
    return kept


def _without(plain: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key not in keys}


def _read(chain: list[Stage], model: Stage) -> list[Stage]:
    """Without what neither the last model nor an evaluation is made from: data of a model that is only evaluated, the
    last merge when only the cycles' length matters."""
    wanted = {model.key, *(stage.key for stage in chain if stage.kind == "evaluate")}
    for stage in reversed(chain):
        if stage.key in wanted:
            wanted.update(source.key for source in stage.inputs.values())
    return [stage for stage in chain if stage.key in wanted]


def _until(chain: list[Stage], until: str) -> list[Stage]:
    """Cut after the named stage, or after the last one of the named kind."""
    ends = [index for index, stage in enumerate(chain) if until in (stage.name, stage.kind)]
    if not ends:
        raise MemphisError(f"until={until}: no such stage; stages are {', '.join(stage.name for stage in chain)}")
    return chain[: ends[-1] + 1]
