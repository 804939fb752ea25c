"""Tests of the config: each key is checked, each shipped composition composes, the card's numbers match one by one."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

from memphis import config, pipeline
from memphis.config import Source, checks, methods
from memphis.dotted import lookup
from memphis.errors import MemphisError
from memphis.losses import Likelihood, Loss, Term
from memphis.methods.neftune import noise_scale
from memphis.recipe import recipe
from memphis.store import flatten
from tests.composing import compose_config, options

# The model card's training procedure: (key, value). Source: model card of euclaise/Memphis-CoT-3B.
CARD = {
    "model.path": "stabilityai/stablelm-3b-4e1t",
    "model.freeze_embeddings": "both",
    "sft.epochs": 2,
    "sft.mixce": 0.75,
    "sft.optim.name": "adalite",
    "sft.optim.lr": 1e-5,
    "sft.optim.decay": 0.01,
    "sft.schedule": "cosine",
    "sft.warmup_ratio": 0.2,
    "sft.max_length": 4096,
    "sft.global_batch_size": 128,
    "sft.neftune.alpha": 10.0,
    "iterations": 3,
    "generate.num_samples": 8,
    "generate.temperature": 0.5,
    "generate.top_p": 0.8,
    "generate.max_new_tokens": 512,
    "rank.loss": "rank",
    "rank.weight": 0.25,
    "rank.mixce": None,
    "rank.ce_target": "chosen",
    "rank.epochs": 1,
    "rank.optim.name": "adalite",
    "rank.optim.lr": 5e-7,
    "rank.optim.decay": 0.01,
    "rank.schedule": "cosine",
    "rank.warmup_ratio": 0.1,
    "rank.max_length": 1024,
    "rank.global_batch_size": 128,
    "rank.neftune.alpha": 10.0,
    "pairs.dedup": "text",
    "slerp.t": 0.99,
    "data.sources.tinycot.path": "euclaise/TinyCoT",
    "data.sources.tinycot.expect_rows": 27676,
    "data.sources.tinycot.questions": True,
    "data.sources.scicot.path": "euclaise/SciCoT",
    "data.sources.scicot.expect_rows": 7000,
    "data.sources.reddit.path": "euclaise/reddit-instruct",
    "data.sources.reddit.limit": 5000,
    "data.sources.reddit.title_exclude": r"[\[\]]",
    "data.sources.oasst2.path": "sablo/oasst2_curated",
    "eval.suites": ["card", "current"],
    "tracking.mode": "wandb",
}

ADDED = ("eps", "beta_decay", "allow_large_steps")

# The settings of a method: rank.loss, rank.examples, rank.start, slerp.method, sft.continued, sft.from.
METHODS = {
    "memphis": ("rank", "pairs", "previous", "slerp", False, None),
    "sft_only": ("none", "pairs", "previous", "none", False, None),
    "sft_continued": ("rank", "pairs", "previous", "slerp", True, None),
    "star": ("ce", "correct", "sft", "none", False, None),
    "rft": ("ce", "correct", "previous", "none", False, None),
    "spin": ("spin", "human", "previous", "none", False, None),
    "dpo": ("dpo", "pairs", "previous", "none", False, None),
    "irpo": ("irpo", "pairs", "previous", "none", False, None),
    "none": ("none", "pairs", "previous", "none", False, "base"),
}


def test_memphis_cot_has_every_number_of_the_card() -> None:
    plain = config.to_dict(compose_config("+exp=memphis_cot"))
    wrong = {key: (lookup(plain, key), value) for key, value in CARD.items() if lookup(plain, key) != value}
    assert not wrong
    questions = [name for name, source in plain["data"]["sources"].items() if source["questions"]]
    assert questions == ["tinycot"]  # "every TinyCoT question", no other source's


def test_memphis_cot_without_the_source_that_is_not_free() -> None:
    whole, free = (config.to_dict(compose_config(f"+exp={exp}")) for exp in ("memphis_cot", "memphis_cot_no_scicot"))
    assert whole["data"]["sources"].pop("scicot")["licence"] == "cc-by-nc-3.0"
    assert free == {**whole, "name": "memphis_cot_no_scicot"}


def test_the_siblings_differ_from_the_card_in_a_few_numbers() -> None:
    card, scribe, small = (
        flatten(config.to_dict(compose_config(f"+exp={exp}"))) for exp in ("memphis_cot", "memphis_scribe", "small")
    )

    def changed(other: dict[str, object], *sections: str) -> dict[str, object]:
        return {key: other[key] for key in card if key.startswith(sections) and card[key] != other[key]}

    sections = ("sft.", "rank.", "slerp.", "pairs.", "generate.", "data.", "iterations")
    numbers = {"sft.mixce": 0.5, "rank.weight": 0.2, "rank.ce_target": "gold", "slerp.t": 0.8}
    assert changed(scribe, *sections) == numbers
    assert scribe["model.path"] == "euclaise/Memphis-CoT-3B"
    numbers = {"sft.max_length": 2048, "sft.neftune.alpha": 4.5, "rank.neftune.alpha": 6.3}
    assert changed(small, *sections) == numbers
    for stage, length in (("sft", 4096), ("rank", 1024)):  # one noise element is as large as at 3B
        ours = noise_scale(float(str(small[f"{stage}.neftune.alpha"])), int(str(small[f"{stage}.max_length"])), 1024)
        assert ours == pytest.approx(noise_scale(10.0, length, 2560), rel=0.01)


def test_the_real_experiment_is_what_it_says() -> None:
    cfg = compose_config("+exp=smollm2")
    source = cfg.data.sources["tinycot"]
    assert isinstance(source, Source)
    assert source.limit is not None
    assert source.origins is not None
    assert (source.limit * len(source.origins), source.asked) == (240, 160)
    assert (cfg.generate.num_samples, cfg.generate.max_new_tokens, cfg.iterations) == (4, 96, 2)
    assert (cfg.sft.optim.lr, cfg.sft.max_length, cfg.rank.optim.lr) == ("auto", 1024, 2e-6)
    assert (cfg.eval.suites, cfg.eval.at, cfg.eval.limit, cfg.eval.limit_between) == (["heldout"], "every", None, 40)
    assert cfg.model.path == "HuggingFaceTB/SmolLM2-135M-Instruct"
    for stage, length in (("sft", 1024), ("rank", 1024)):  # one noise element is as large as at 3B
        ours = noise_scale(getattr(cfg, stage).neftune.alpha, length, 576)
        assert ours == pytest.approx(noise_scale(10.0, 4 * length if stage == "sft" else length, 2560), rel=0.02)


@pytest.mark.parametrize(("exp", "method"), itertools.product([None, *options("exp")], options("method")))
def test_every_exp_composes_with_every_method(exp: str | None, method: str) -> None:
    cfg = compose_config(*([f"+exp={exp}"] if exp else []), f"method={method}")
    chosen = (
        cfg.rank.objective.loss,
        cfg.rank.examples,
        cfg.rank.start,
        cfg.slerp.method,
        cfg.sft.continued,
        cfg.sft.from_,
    )
    assert chosen == METHODS[method]  # `method=` takes precedence over an exp file


@pytest.mark.parametrize(
    "group", ["model", "data", "sft", "generate", "sampling", "pairs", "rank", "slerp", "eval", "tracking", "runtime"]
)
def test_every_option_of_every_group_composes(group: str) -> None:
    extra = {
        "model": ["model.path=owner/name"],
        "data": ["eval=none"],
        "eval": ["data=local", "data.path=my.jsonl", "data.sources.local.heldout=0.1"],
        "sft": ["sft.max_length=512"],
        "rank": ["rank.max_length=512", "data.sources.tiny.questions=100"],
    }.get(group, [])
    for option in options(group):
        tiny = (group, option) in (("model", "tiny"), ("eval", "tiny"), ("eval", "dev"))
        typed = [] if tiny else list(extra)
        typed += ["data.path=my.jsonl"] if (group, option) == ("data", "local") else []
        assert compose_config(f"{group}={option}", *typed)


def test_method_and_scale_files_set_no_common_key() -> None:
    """Check that the files set disjoint keys: with Hydra 1.3 the later of two files silently takes precedence."""
    from omegaconf import OmegaConf

    from memphis.runs import REPOSITORY

    def keys(group: str, prefix: str) -> set[str]:
        return {
            f"{prefix}{key}"
            for file in (REPOSITORY / "conf" / group).glob("*.yaml")
            for key in flatten(OmegaConf.to_container(OmegaConf.load(file)))
        }

    scale = set.union(
        *(keys(group, f"{group}.") for group in ("sft", "rank", "pairs", "slerp", "generate")),
        keys("sampling", "generate."),
    )
    assert not keys("method", "") & scale
    for file in (REPOSITORY / "conf" / "exp").glob("*.yaml"):
        body = OmegaConf.to_container(OmegaConf.load(file))
        assert set(body) - {"iterations"} == {"defaults", "name"}, file
    assert "iterations" not in keys("method", "")


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(MemphisError) as caught:
        compose_config(
            "slerp.t=1.5", "rank.weight=-1", "iterations=-1", "+slerp.typo=1", "+typo=2", "sft.epochs=two", "seed=0.5"
        )
    text = str(caught.value)
    for key in (
        "slerp.t=1.5",
        "rank.weight=-1",
        "iterations=-1",
        "slerp.typo=1: unknown key",
        "typo=2: unknown key",
        "sft.epochs='two'",
        "seed=0.5",
    ):
        assert key in text
    assert text.startswith("7 faults")


LOCAL = ["data=local", "data.path=my.jsonl", "eval=none"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["slerp.t=nan"], "slerp.t"),
        (["name=a/b"], "name="),
        (["name=.."], "name="),
        *(([f"name={name}"], f"^name={name}: <runtime.root>/{name} is not for runs") for name in checks.NOT_NAMES),
        (["model.base.heads=3"], "multiple of model.base.heads=3"),
        (["sft.max_length=5000"], "longer than model.base.max_positions"),
        (["generate.temperature=0"], "greedy samples are all alike"),
        (["generate.num_samples=1"], "at least 2"),
        (["eval=card", "eval.seeds=[]"], "eval.seeds="),
        (["eval=card", "eval.seeds=[0,1,0]"], "eval.seeds=.*same seed twice"),
        (["model=hf"], "model.path"),
        (["model=hf", "model.path=a/b", "eval.suites=[tiny]", "data=memphis"], "asks the questions of data=tiny"),
        (["data=local", "eval=none"], "data.path"),
        ([*LOCAL, "eval=heldout"], "'heldout' asks held-out rows, and no source has any; set data.sources.X.heldout"),
        (["+data.path=my.jsonl"], "no source refers to it; use data=local"),
        ([*LOCAL, "data.sources.local.kind=poem"], "kind='poem': unknown kind; 'tiny', 'cot', 'instruct', 'chat'"),
        ([*LOCAL, "~data.sources.local.kind"], "data.sources.local.kind: missing"),
        ([*LOCAL, "+data.sources.local.columns.promt=[x]"], "data.sources.local.columns.promt='promt': input should"),
        ([*LOCAL, "+data.sources.local.slit=x"], "^data.sources.local.slit='x': unknown key"),
        ([*LOCAL, "data.sources.local.kind=chat"], "kind 'chat' has no answers to compare with"),
        ([*LOCAL, "+data.sources.local.title_exclude=x"], "kind 'cot' has no titles"),
        ([*LOCAL, "data.sources.local.questions=false"], "none has questions to teach itself on"),
        (["runtime.num_devices=2", "model.master_dtype=bfloat16_stochastic"], "num_devices=2: .* needs whole tensors"),
        (["method=sft_only", "rank.weight=0.1"], "has no effect with rank.loss=none"),
        (["~rank.optim"], "rank.optim.decay: missing; set rank.optim.decay=…"),
        (["~runtime.root"], "^runtime.root: missing; set runtime.root=…"),
        (["rank.loss=[a]"], "rank.loss="),
        (["+rank.objective=dpo"], "rank.objective='dpo': unknown key"),
        (["+model.attention=banana"], "model.attention='banana': unknown key"),
        (["sft.from=''"], "sft.from=''"),
        (["+exp=memphis_cot", "data.sources.reddit.path=null"], "data.sources.reddit.path: missing"),
        (["slerp.method=lerp", "slerp.dot_threshold=0.9"], "has no effect with slerp.method=lerp"),
        (["sft.optim.name=adamw", "sft.optim.variant=feb5"], "has no effect with sft.optim.name=adamw"),
        (["sft.optim.name=adamw", "sft.optim.eps=1e-8"], "sft.optim.eps: has no effect with sft.optim.name=adamw"),
        (["rank.optim.name=adamw", "rank.optim.beta_decay=1"], "rank.optim.beta_decay: has no effect with rank.optim"),
        (["sft.optim.lr=-1"], "^sft.optim.lr=-1: input should be greater than 0$"),
        (["rank.optim.lr=fast"], "^rank.optim.lr='fast': input should be a valid number$"),
        (["sft.optim.lr=auto", "sft.optim.name=adamw"], "lr=auto: follows from .*; type sft.optim.lr=…"),
        (["runtime.threads=0"], "runtime.threads=0"),
        (["sft.optim.eps=0"], "sft.optim.eps=0: input should be greater than 0"),
        (
            ["model.base.hidden=12"],
            "even width of a head, .* model.base.heads=4 it is 3; use hidden=24, or other heads",
        ),
        (["model.revision=v2"], "model.revision='v2': of no model; set model.path, or leave it out"),
        (["generate.max_new_tokens=2000"], "generate.max_new_tokens=2000: longer than model.base.max_positions=1024"),
        (["iterations=1000000"], "^iterations=1000000: input should be less than or equal to 100$"),
        (["generate.num_samples=1000000000"], "^generate.num_samples=1000000000: input should be less than or equal"),
        (["eval.suites=[tiny,tiny]"], r"^eval.suites=\['tiny', 'tiny'\]: the same suite twice; name each once$"),
        (["pairs.answer.types=[['(',number]]"], r"^pairs.answer.types.0.0='\(': not a regular expression \(missing \)"),
        (
            ["pairs.answer.types=[[tiny,sum]]"],
            "^pairs.answer.types.0.1='sum': input should be 'number', 'math', 'choice'",
        ),
        (["pairs.max_per_question=0"], "^pairs.max_per_question=0: input should be greater than 0$"),
        (["sft.neftune.length=0"], "^sft.neftune.length=0: input should be greater than 0$"),
        (["sft.neftune.variant=hf", "sft.neftune.length=9"], "length: has no effect with sft.neftune.variant=hf"),
        (["rank.neftune.alpha=0", "rank.neftune.variant=hf"], "variant: has no effect with rank.neftune.alpha=0"),
        (["method=spin", "pairs.check=equations"], "pairs.check: has no effect with rank.examples=human"),
        (["model.checkpointing=banana"], "^model.checkpointing='banana': input should be True, False or 'auto'$"),
        (["model.packing=banana"], "model.packing='banana': input should be 'auto', 'packed' or 'padded'"),
    ],
)
def test_contradictions_name_the_key(overrides: list[str], message: str) -> None:
    with pytest.raises(MemphisError, match=message):
        compose_config(*overrides)


@pytest.mark.parametrize("key", ["model.path", "sft.from", "eval.data_dir"])
def test_a_file_in_place_of_a_directory_is_refused(key: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    typed = ["model=hf", "model.path=a/b", *LOCAL[:1], "data.path=a/b", "eval=card", f"{key}={file}"]
    message = f"^{key}='{file}': a file, and a directory is needed; try '{tmp_path}'$"
    with pytest.raises(MemphisError, match=message):
        recipe(compose_config(*typed), tmp_path / "identities.json")


def test_a_checkpoint_to_continue_from_is_its_own_base_model() -> None:
    cfg = compose_config("model=hf", "sft.from=a/b", *LOCAL)
    assert cfg == compose_config("model=hf", "sft.from=a/b", "model.path=a/b", *LOCAL)
    assert compose_config("model=hf", "sft.from=a/b", "model.path=c/d", *LOCAL).model.path == "c/d"
    assert compose_config("sft.from=a/b").model.path is None  # the tiny base model, of which it is a checkpoint


def test_round_trip_through_a_plain_dictionary() -> None:
    for cfg in (compose_config(), compose_config("+exp=memphis_cot"), compose_config(*LOCAL)):
        assert config.from_dict(config.to_dict(cfg)) == cfg


def test_a_config_from_before_a_key_was_added_has_its_default() -> None:
    plain = config.to_dict(compose_config())
    for section, key in (
        (plain["model"], "packing"),
        *((plain[s]["optim"], k) for s in ("sft", "rank") for k in ADDED),
        (plain["pairs"], "check"),
    ):
        del section[key]
    assert config.from_dict(plain) == compose_config()
    del plain["runtime"]["threads"]
    assert config.from_dict(plain).runtime.threads is None


def test_slug_ignores_order_and_what_enters_no_key() -> None:
    same = ["slerp.t=0.5", "method=memphis"]
    noise = [
        "seed=3",
        "name=x",
        "+exp=memphis_cot",
        "+sweep=a",
        "runtime.device=cpu",
        "tracking=none",
        "plan=false",
        "until=sft",
    ]
    assert config.slug(same) == config.slug([*noise, *reversed(same)]) == "method-memphis_slerp.t-0.5"
    assert config.slug([]) == config.slug(noise) == "default"
    assert config.slug(["iterations=1"]) != config.slug(["iterations=2"])
    assert "/" not in config.slug(["sft.from=/a/b,c [d]=e"])
    long = config.slug([f"sft.epochs={'9' * 300}"])
    assert len(long) <= 120
    assert long != config.slug([f"sft.epochs={'9' * 301}"])


def test_a_method_file_that_sets_more_names_only_what_it_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(methods._FILES, tmp_path / "method")
    (tmp_path / "method" / "best.yaml").write_text("slerp: {t: 0.5}\n")
    monkeypatch.setattr(methods, "_FILES", tmp_path / "method")
    methods.methods.cache_clear()
    try:
        names = [methods.method_name(config.to_dict(compose_config(*typed))) for typed in ([], ["slerp.t=0.5"])]
        assert names == ["memphis", "best"]
    finally:
        methods.methods.cache_clear()


def test_a_loss_has_one_term_of_a_sort() -> None:
    class Twice(Loss):
        @property
        def terms(self) -> tuple[tuple[float, Term], ...]:
            return ((1.0, Likelihood()), (1.0, Likelihood(gold=True)))

    with pytest.raises(TypeError, match="Twice: two terms of one sort"):
        Twice()


@pytest.mark.parametrize("model", ["hf", "stablelm_3b", "pythia_410m", "lima2_7b"])
def test_a_real_model_chooses_the_scales_that_fit_it(model: str) -> None:
    cfg = compose_config(f"model={model}", "model.path=a/b")
    assert (cfg.sft.optim.lr, cfg.rank.optim.lr, cfg.generate.max_new_tokens) == ("auto", 2e-6, 512)
    typed = compose_config(f"model={model}", "model.path=a/b", "sft=tiny", "rank=card", "sampling=tiny")
    assert (typed.sft.optim.lr, typed.rank.optim.lr, typed.generate.max_new_tokens) == (2e-4, 5e-7, 64)
    chosen = compose_config("+exp=memphis_cot", f"model={model}", "model.path=a/b")
    assert (chosen.sft.optim.lr, chosen.rank.optim.lr) == (1e-5, 5e-7)
    assert compose_config().sft.optim.lr == 2e-4


def test_noise_of_the_real_scales_is_the_cards() -> None:
    real = compose_config("model=hf", "model.path=a/b")
    for knobs, length in ((real.sft, 4096), (real.rank, 1024)):
        ours = noise_scale(knobs.neftune.alpha, knobs.max_length, 576)
        assert ours == pytest.approx(noise_scale(10.0, length, 2560), rel=0.02)


def test_dtype_auto_is_replaced_when_the_config_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = config.to_dict(compose_config())
    plain["model"]["dtype"] = "auto"
    for computes, device, expected in (
        (True, "auto", "bfloat16"),
        (False, "auto", "float32"),
        (False, "cpu", "float32"),
        (False, "cuda", "bfloat16"),  # planned on a machine without a GPU
    ):
        monkeypatch.setattr(config, "computes_bfloat16", lambda device, computes=computes: computes)
        plain["runtime"]["device"] = device
        assert config.from_dict(plain).model.dtype == expected
    assert compose_config().model.dtype == "float32"


def test_large_steps_and_threads_enter_no_key() -> None:
    plain, other = (config.to_dict(compose_config(*typed)) for typed in ((), ("runtime.threads=7",)))
    for section in ("sft", "rank"):
        other[section]["optim"]["allow_large_steps"] = True
    for kind in pipeline.KINDS:
        assert pipeline.cut(kind, plain) == pipeline.cut(kind, other)
    assert config.for_stages(config.from_dict(other)) | {"device": ""} == {
        **{"device": "", "num_devices": 1, "micro_batch_tokens": 4096, "compile": False},
        **{"threads": 7, "allow_large_steps": ["sft", "rank"]},
    }


def test_threads_are_fixed_for_each_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert compose_config("runtime=laptop", "seed=11").runtime.threads == 2
    assert compose_config("runtime=gpu", "seed=11").runtime.threads == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert compose_config("runtime=laptop", "seed=12").runtime.threads == 3
    assert compose_config("runtime.threads=5", "seed=12").runtime.threads == 5
    assert compose_config("runtime.threads=null", "seed=12").runtime.threads is None


def test_configs_of_an_earlier_version_are_read_and_ask_for_nothing() -> None:
    """Check that run directories and frozen grids of version 0.1.0 can go on: each new key has its default there."""
    earlier = json.loads((Path(__file__).parent / "golden" / "configs-earlier.json").read_text(encoding="utf-8"))
    assert len(earlier) == 4
    for words, plain in earlier.items():
        now = flatten(config.to_dict(config.from_dict(plain)))
        assert flatten(config.today(plain)) == now, words
