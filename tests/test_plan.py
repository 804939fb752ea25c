"""Tests of the plan: stages to build, their processes, and stages to reuse, counted on faked finished stages."""

from collections.abc import Callable
from pathlib import Path

import pytest

from memphis import devices
from memphis.config import to_dict
from memphis.config.methods import method_name
from memphis.engine import launch, plan
from memphis.errors import MemphisError
from memphis.jsonl import PROGRESS
from memphis.recipe import recipe
from memphis.store import Stage, Store, finish
from memphis.store.claims import Claim
from tests.composing import compose_config, options


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.create()
    return made


def chain(*overrides: str) -> list[Stage]:
    return recipe(compose_config(*overrides), Path("identities.json"))


def pretend(store: Store, stages: list[Stage]) -> None:
    for stage in stages:
        path = store.publish(stage)
        claim = Claim(path)
        assert claim.acquire(lambda path=path: store.fault(path) is None)
        (claim.part / "model").mkdir()
        (claim.part / "model" / "w").write_text("w")
        (claim.part / "metrics.jsonl").write_text("")
        finish(claim, stage.spec(), {"steps": 1, "tokens": 1}, 0.1, {})
        claim.release()


def needed(stages: list[Stage], store: Store) -> list[str]:
    return [step.stage.name for step in plan.make_plan(stages, store) if step.needed]


def test_the_default_run_is_the_recipe_and_its_legs_never_mix_trainer_and_engine(store: Store) -> None:
    stages = chain()
    cycle = ["generate", "pairs", "rank", "merge", "evaluate"]
    expected = [
        "data",
        "base",
        "sft",
        "evaluate-base",
        "evaluate-sft",
        *(f"{kind}-{k}" for k in (1, 2, 3) for kind in cycle),
    ]
    assert [stage.name for stage in stages] == expected
    jobs = [[stage.name for stage in job] for job in plan.jobs(plan.make_plan(stages, store))]
    assert jobs[:3] == [
        ["data", "base", "sft"],
        ["evaluate-base", "evaluate-sft", "generate-1"],
        ["pairs-1", "rank-1", "merge-1"],
    ]
    assert jobs[3:] == [
        ["evaluate-1", "generate-2"],
        ["pairs-2", "rank-2", "merge-2"],
        ["evaluate-2", "generate-3"],
        ["pairs-3", "rank-3", "merge-3"],
        ["evaluate-3"],
    ]


def test_a_built_chain_needs_nothing(store: Store) -> None:
    stages = chain()
    pretend(store, stages)
    assert needed(stages, store) == []


def test_shorter_iterations_are_contained_in_longer_ones(store: Store) -> None:
    pretend(store, chain())
    for iterations in (0, 1, 2, 3):
        assert needed(chain(f"iterations={iterations}"), store) == []
    assert needed(chain("iterations=4"), store) == ["generate-4", "pairs-4", "rank-4", "merge-4", "evaluate-4"]


def test_slerp_rebuilds_nothing_before_the_first_merge(store: Store) -> None:
    pretend(store, chain())
    first = needed(chain("slerp.t=0.5"), store)
    assert first[:3] == ["merge-1", "evaluate-1", "generate-2"]
    assert not {"data", "base", "sft", "evaluate-base", "evaluate-sft", "generate-1", "pairs-1", "rank-1"} & set(first)
    assert needed(chain("rank.weight=0.1"), store)[0] == "rank-1"
    assert needed(chain("pairs.mode=one"), store)[0] == "pairs-1"
    assert needed(chain("seed=1"), store)[0] == "sft"  # data and base are the same for every seed
    assert needed(chain("model.base.seed=1"), store)[0] == "base"


def test_the_control_takes_its_length_from_the_cycles_and_shares_all_before(store: Store) -> None:
    pretend(store, chain())
    assert needed(chain("method=sft_continued"), store) == ["sft-continued", "evaluate-sft-continued"]
    stages = {stage.name: stage for stage in chain("method=sft_continued")}
    assert "merge-3" not in stages  # nothing reads it
    assert {name for name in stages if name.startswith("evaluate")} == {
        "evaluate-base",
        "evaluate-sft",
        "evaluate-sft-continued",
    }
    control = stages["sft-continued"]
    assert control.inputs["model"] is stages["sft"]
    assert [control.inputs[f"budget-{k}"].name for k in (1, 2, 3)] == ["rank-1", "rank-2", "rank-3"]
    weight = {stage.name: stage for stage in chain("method=sft_continued", "rank.weight=0.1")}
    assert weight["sft-continued"].key != control.key  # different cycles may have another length
    assert weight["sft"].key == control.inputs["model"].key


def test_each_method_shares_sft_and_the_first_samples(store: Store) -> None:
    pretend(store, chain())
    for method in ("star", "rft", "spin"):
        assert needed(chain(f"method={method}"), store)[:2] == ["pairs-1", "rank-1"]
    assert needed(chain("method=dpo"), store)[0] == "rank-1"  # it has the pairs of the rank loss
    assert needed(chain("method=sft_only"), store) == []


def test_a_preference_loss_has_no_knob_of_the_rank_loss_in_its_key() -> None:
    rank = next(stage for stage in chain("method=dpo") if stage.kind == "rank")
    assert "beta" in rank.config["rank"]
    assert not {"weight", "use_average", "ce_target", "mixce"} & set(rank.config["rank"])
    with pytest.raises(MemphisError, match=r"rank.weight: has no effect with rank.loss=dpo"):
        chain("method=dpo", "rank.weight=0.5")


@pytest.mark.parametrize(
    "free", ["runtime.micro_batch_tokens=512", "tracking=none", "name=x", "runtime.keep=final", "eval.at=final"]
)
def test_what_enters_no_key_rebuilds_nothing(store: Store, free: str) -> None:
    pretend(store, chain())
    assert needed(chain(free), store) == []


def test_a_thin_stage_is_rebuilt_only_for_a_reader_of_its_weights(store: Store) -> None:
    stages = chain("iterations=1")
    pretend(store, stages)
    rank = next(stage for stage in stages if stage.kind == "rank")
    store.drop_weights(store.path(rank))
    assert needed(stages, store) == []
    assert needed(chain("iterations=1", "slerp.t=0.5"), store) == ["rank-1", "merge-1", "evaluate-1"]


def test_damage_rebuilds_the_stage_alone(store: Store) -> None:
    stages = chain("iterations=1")
    pretend(store, stages)
    sft = next(stage for stage in stages if stage.kind == "sft")
    (store.path(sft) / "model" / "w").write_text("")
    assert needed(stages, store) == ["sft"]


def test_until_and_method_none(store: Store) -> None:
    assert [stage.name for stage in chain("until=data")] == ["data"]
    assert chain("until=generate")[-1].name == "generate-3"
    assert chain("until=merge-2")[-1].name == "merge-2"
    with pytest.raises(MemphisError, match="until=nothing: no such stage; stages are data, base"):
        chain("until=nothing")
    names = [stage.name for stage in chain("method=none", "model=hf", "model.path=a/b", "eval=card")]
    assert names == ["base", "evaluate-base"]  # no data is read, so none is fetched
    assert [stage.name for stage in chain("method=sft_only", "eval=none")] == ["data", "base", "sft"]


def test_sft_from_a_checkpoint_takes_its_place(store: Store, tmp_path: Path) -> None:
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt" / "config.json").write_text("{}")
    stages = recipe(compose_config(f"sft.from={tmp_path}/ckpt", "iterations=1"), tmp_path / "identities.json")
    assert [stage.kind for stage in stages if stage.name == "sft"] == ["base"]
    (tmp_path / "ckpt" / "config.json").write_text("{ }")
    changed = recipe(compose_config(f"sft.from={tmp_path}/ckpt", "iterations=1"), tmp_path / "identities.json")
    assert [s.key for s in changed if s.name == "merge-1"] != [s.key for s in stages if s.name == "merge-1"]
    with pytest.raises(MemphisError, match=r"sft.from='./nowhere': no such file or directory"):
        chain("sft.from=./nowhere")


def test_a_full_disk_is_noticed_before_anything_starts(store: Store) -> None:
    cfg = compose_config("+exp=memphis_cot", "model.parameters=100000000000000")
    steps = plan.make_plan(recipe(cfg, Path("x")), store)
    with pytest.raises(MemphisError, match="GiB of weights at its peak"):
        plan.check_disk(cfg, steps, store)
    assert "GiB of weights at the peak" in plan.describe(cfg, steps, store)


def test_missing_vllm_is_noticed_before_anything_starts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = plan.make_plan(chain(), store)
    launch.check_packages(steps)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MemphisError, match="generate.engine=vllm: stage evaluate-base needs the package vllm"):
        launch.check_packages(steps)


def test_rationalisation_goes_on_from_the_samples_and_judgements_of_star(store: Store) -> None:
    pretend(store, chain("method=star", "eval=none", "iterations=1"))
    stages = chain("method=star", "rank.examples=rationalized", "eval=none", "iterations=1")
    names = ["data", "base", "sft", "generate-1", "judge-1", "rationalize-1", "pairs-1", "rank-1"]
    assert [stage.name for stage in stages] == names
    assert needed(stages, store) == names[-3:]
    with pytest.raises(MemphisError, match=r"rank.examples='rationalized': loss 'rank' compares"):
        chain("method=memphis", "rank.examples=rationalized")


@pytest.mark.parametrize("method", options("method"))
def test_every_method_is_known_however_it_was_typed(method: str) -> None:
    assert method_name(to_dict(compose_config(f"method={method}"))) == method
    assert method_name(to_dict(compose_config("rank.loss=ce", "rank.examples=correct", "rank.start=sft"))) == "star"


def test_choices_that_no_method_makes_are_spelled_out() -> None:
    config = to_dict(compose_config("method=star", "rank.start=base"))
    assert method_name(config) == "ce-correct-base"
    assert method_name(config | {"iterations": 0}) == "sft_only"


def test_bfloat16_that_a_processor_emulates_is_told_before_it_is_trained_with(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config("model.dtype=bfloat16", "runtime.device=cpu")
    stages = chain("model.dtype=bfloat16", "until=sft")
    steps = plan.make_plan(stages, store)
    monkeypatch.setattr(launch, "emulates_bfloat16", lambda: True)
    assert "model.dtype=float32" in (launch.slow_numbers(cfg, steps) or "")
    assert launch.slow_numbers(compose_config("runtime.device=cpu"), steps) is None
    pretend(store, stages)
    assert launch.slow_numbers(cfg, plan.make_plan(stages, store)) is None  # nothing is trained
    monkeypatch.setattr(launch, "emulates_bfloat16", lambda: False)
    assert launch.slow_numbers(cfg, steps) is None

    cpuinfo = tmp_path / "cpuinfo"
    for flags, emulated in (("fma avx2", True), ("avx512f avx512_bf16", False), ("amx_bf16", False)):
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse\n")
        assert devices.emulates_bfloat16(cpuinfo) == emulated
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n")  # an ARM processor
    assert not devices.emulates_bfloat16(cpuinfo)
    assert not devices.emulates_bfloat16(tmp_path / "none")


def test_watchers_get_rows_of_progress_while_a_stage_is_built(store: Store) -> None:
    (stage,) = chain("until=data")[:1]
    found: list[dict[str, int]] = []

    class Watcher:
        def progress(self, stage: Stage, row: dict[str, int]) -> None:
            found.append(row)

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *arguments: None

    claim = Claim(store.publish(stage))
    follower = launch._Follower(stage, [stage], store, [Watcher()])
    assert claim.acquire(lambda: False)
    for content in ("", '{"answers": 1}', '{"answers": 1}', '{"answers": 2}'):
        if content:
            (claim.part / PROGRESS).write_text(content)
        assert follower.look()
    (claim.part / PROGRESS).unlink()
    assert follower.look()
    finish(claim, stage.spec(), {}, 0.1, {})
    assert not follower.look()
    claim.release()
    assert found == [{"answers": 1}, {"answers": 2}]
