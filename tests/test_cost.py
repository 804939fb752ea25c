"""Tests of `plan=true` on emulated machines: the cost of a run, and refusals."""

import json
from pathlib import Path

import pytest

from memphis import devices
from memphis.engine import plan
from memphis.engine.cost import Costs, start_of
from memphis.errors import MemphisError
from memphis.recipe import recipe
from memphis.store import Store
from tests.composing import compose_config
from tests.offline import planned


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    devices._listed.cache_clear()


def smi(folder: Path, *cards: tuple[str, int]) -> None:
    """Write an nvidia-smi that lists these cards: (name, MiB)."""
    lines = "\n".join(f"{i}, GPU-{i}a, {memory}, {name}" for i, (name, memory) in enumerate(cards))
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n/bin/cat <<END\n{lines}\nEND\n")
    (folder / "nvidia-smi").chmod(0o755)
    devices._listed.cache_clear()


def costs(store: Store, *overrides: str) -> Costs:
    cfg = compose_config(*overrides)
    stages = recipe(cfg, store.root.parent / "identities.json")
    return Costs(cfg, stages, stages, store)


def check(store: Store, *overrides: str) -> None:
    cfg = compose_config(*overrides)
    plan.check(cfg, plan.make_plan(recipe(cfg, store.root.parent / "identities.json"), store), store)


def test_the_cards_recipe_has_the_cards_rows_and_steps(store: Store) -> None:
    found = costs(store, "+exp=memphis_cot")
    by_name = {stage.name: found.of(stage) for stage in found.stages}
    assert by_name["sft"].rows == 44_369
    assert by_name["sft"].steps == 2 * 347
    assert by_name["generate-2"].rows == 27_676 * 8
    assert by_name["rank-3"].steps == 346  # 1.6 pairs a question
    assert not by_name["sft"].known
    hours = sum(one.hours or 0 for one in by_name.values())
    assert 1.0 < hours < 1.4  # on one H200
    text = "\n".join(found.lines())
    for part in ("~44,369", "one H200 (none is visible here)", "none visible, so nothing is refused",
                 "stabilityai/stablelm-3b-4e1t 5.2 GiB", "euclaise/TinyCoT 11.6 MiB"):  # fmt: skip
        assert part in text
    check(store, "+exp=memphis_cot")


def test_a_24_gb_card_is_refused_with_the_numbers_and_what_would_fit(store: Store, tmp_path: Path) -> None:
    smi(tmp_path, ("NVIDIA GeForce RTX 4090", 24564))
    with pytest.raises(MemphisError) as caught:
        check(store, "+exp=memphis_cot")
    text = str(caught.value)
    assert "stage sft needs" in text
    assert "NVIDIA GeForce RTX 4090 has 24.0 GiB" in text
    assert "activations" in text
    cure = text.split("would fit: ")[1].rsplit(" (", 1)[0]
    assert cure == "runtime.micro_batch_tokens=4096 model.master_dtype=bfloat16_stochastic"
    check(store, "+exp=memphis_cot", *cure.split())  # it does fit
    smi(tmp_path, *4 * [("NVIDIA GeForce RTX 4090", 24564)])
    with pytest.raises(MemphisError) as caught:
        check(store, "+exp=memphis_cot")
    cure = str(caught.value).split("would fit: ")[1].split(" (")[0]
    assert cure.startswith("runtime.num_devices=4")
    check(store, "+exp=memphis_cot", *cure.split())  # in float32
    check(store, "+exp=memphis_cot", "until=data")
    check(store, "+exp=memphis_cot", "runtime.device=cpu")


def test_training_and_sampling_take_a_share_of_the_hours_on_several_devices(store: Store) -> None:
    def hours(*overrides: str) -> dict[str, float]:
        found = costs(store, "+exp=memphis_cot", "iterations=1", *overrides)
        return {stage.kind: found.of(stage).hours or 0 for stage in found.stages}

    one, four = hours(), hours("runtime.num_devices=4")
    for kind, share in {"sft": 4, "generate": 4, "rank": 4, "merge": 1, "evaluate": 1}.items():
        assert one[kind] == pytest.approx(share * four[kind])
        assert four[kind] > 0


def test_an_80_gb_card_recomputes_a_part_and_takes_longer_for_it(store: Store, tmp_path: Path) -> None:
    smi(tmp_path, ("NVIDIA H100 80GB HBM3", 81559))
    check(store, "+exp=memphis_cot")
    with pytest.raises(MemphisError, match="stage sft needs") as caught:
        check(store, "+exp=memphis_cot", "model.checkpointing=false")
    assert "would fit: runtime.micro_batch_tokens=4096 (" in str(caught.value)
    assert "or model.checkpointing=auto (" in str(caught.value)
    some, none, every = (
        costs(store, "+exp=memphis_cot", f"model.checkpointing={choice}") for choice in ("auto", "false", "true")
    )
    hours = [next(one.of(stage).hours for stage in one.stages if stage.name == "sft") for one in (none, some, every)]
    # the layers do 15.3 of 15.6 GFLOP per token; 10 of 32 layers run forward twice, which costs a third more each
    assert hours[1] / hours[0] == pytest.approx(1 + 15.3 / 15.6 * 10 / 32 / 3, rel=2e-3)  # type: ignore[operator]
    assert hours[2] / hours[0] == pytest.approx(1 + 15.3 / 15.6 / 3, rel=2e-3)  # type: ignore[operator]
    assert "10 layers recomputed" in next(line for line in some.lines() if "in sft: 69.9 GiB" in line)


def test_without_a_card_the_range_is_told(store: Store) -> None:
    text = "\n".join(costs(store, "+exp=memphis_cot").lines())
    assert "memory of a device in sft: 88.3 GiB" in text
    assert "or, with all layers recomputed, 30.4 GiB" in text
    assert "recomputed" not in "\n".join(costs(store, "+exp=memphis_cot", "runtime.device=cpu").lines())


def test_the_smallest_of_the_visible_cards_decides(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, ("NVIDIA H200", 143771), ("Tesla T4", 15360))
    with pytest.raises(MemphisError, match="Tesla T4 has 15.0 GiB"):
        check(store, "+exp=memphis_cot")
    for visible in ("0", "GPU-0a", " 0 "):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        check(store, "+exp=memphis_cot")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.gpus("cuda") == []


def test_what_is_built_is_read_and_not_estimated(store: Store) -> None:
    found = costs(store, "iterations=1")
    data, sft = (next(stage for stage in found.stages if stage.name == name) for name in ("data", "sft"))
    assert found.of(sft).steps == 4 * 7
    assert not found.of(sft).known
    found.store.fault = lambda path: None if path == store.path(sft) else "not built"  # type: ignore[method-assign,misc]
    found.store.record = lambda path: {"summary": {"steps": 5, "tokens": 77, "examples": {"kept": 9}}}  # type: ignore[method-assign,misc]
    assert (found.of(sft).rows, found.of(sft).tokens, found.of(sft).steps) == (9, 77, 5)
    assert found.of(sft).known
    assert found.of(data).rows == 100


def test_an_unknown_model_is_said_to_be_unknown(store: Store, tmp_path: Path) -> None:
    typed = ("model=hf", "data=local", "data.path=a/b", "eval=none", "tracking=none")
    text = "\n".join(costs(store, *typed, "model.path=c/d").lines())
    assert "memory: unknown until the model's config.json is here" in text
    assert "c/d of unknown size, a/b of unknown size" in text
    (tmp_path / "m").mkdir()
    plain = {"model_type": "gpt_neox", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    plain |= {"intermediate_size": 4096, "vocab_size": 50304}
    (tmp_path / "m" / "config.json").write_text(json.dumps(plain))
    shape = costs(store, *typed, f"model.path={tmp_path}/m").shape
    assert shape is not None
    assert shape.weights == pytest.approx(405.3e6, rel=2e-3)  # Pythia 410M


def test_a_checkpoint_of_another_architecture_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    plain = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 344}
    (tmp_path / "other" / "config.json").write_text(json.dumps({**plain, "vocab_size": 768}))
    with pytest.raises(MemphisError, match=r"another architecture: hidden 64 \(base model: 128\)"):
        check(store, f"sft.from={tmp_path}/other")
    (tmp_path / "other" / "config.json").write_text(json.dumps({**plain, "hidden_size": 128, "vocab_size": 768}))
    check(store, f"sft.from={tmp_path}/other")


def test_a_checkpoint_alone_is_the_model_to_start_from(tmp_path: Path) -> None:
    typed, place = f"sft.from={tmp_path}", tmp_path / "config.json"
    cfg = compose_config(typed)
    plain = {"num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 344, "vocab_size": 768}
    place.write_text(json.dumps({**plain, "hidden_size": 128}))
    assert start_of(cfg, [typed]) == cfg  # a checkpoint of the built model
    for other in ({**plain, "hidden_size": 64}, {"n_embd": 128}):
        place.write_text(json.dumps(other))
        model = start_of(cfg, [typed]).model
        assert (model.path, model.base) == (str(tmp_path), None)
        assert start_of(cfg, [typed, "model=tiny"]) == cfg
    assert start_of(compose_config(), []) == compose_config()


def test_the_plan_of_the_cards_recipe_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real PATH
    done = planned(tmp_path, "+exp=memphis_cot", "plan=true")
    assert done.returncode == 0, done.stderr
    assert "memory of a device in rank" in done.stdout
    assert not (tmp_path / "store").exists()
