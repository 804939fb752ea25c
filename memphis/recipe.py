"""The method as a chain of stages: their order, and what each reads of the others."""

from pathlib import Path

from memphis.config import Config
from memphis.pipeline import Pipeline
from memphis.store import Stage


def recipe(cfg: Config, cache: Path) -> list[Stage]:
    """Chain SFT, then `iterations` times: sample, check and pair, rank, merge. Returns the stages in their order.

    cache: file that remembers the sha256 of local inputs.
    """
    run = Pipeline(cfg, cache)
    data = run("data")
    base = run("base")
    model = sft = run("sft", data=data, model=base)
    run.evaluate(base, data, at="every")
    run.evaluate(sft, data, at="every", between=run.iterations > 0)

    ranked = []
    for k in range(1, run.iterations + 1):
        samples = run("generate", k, data=data, model=model)
        if cfg.rank.examples == "rationalized":  # STaR: ask again, with the answer as a hint, what no sample got right
            judged = run("pairs", k, name="judge", data=data, samples=samples)
            hinted = run("generate", k, name="rationalize", data=data, model=model, judged=judged)
            pairs = run("pairs", k, data=data, samples=samples, hinted=hinted)
        else:
            pairs = run("pairs", k, data=data, samples=samples)

        start = {"previous": model, "sft": sft, "base": base}[cfg.rank.start]
        rank = run("rank", k, model=start, pairs=pairs, data=data)
        model = run("merge", k, previous=model, updated=rank, sft=sft)
        ranked.append(rank)
        if not cfg.sft.continued:
            run.evaluate(model, data, at="every", between=k < run.iterations)

    if cfg.sft.continued and ranked:  # the control: SFT again, for as many steps and tokens as the rank stages took
        model = run("sft", len(ranked), name="sft-continued", data=data, model=sft, budget=ranked)
        run.evaluate(model, data, at="every")
    run.evaluate(model, data, at="final")
    return run.stages(result=model)
