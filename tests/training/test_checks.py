"""Tests that every bad checkpoint is refused in one line that names the user's path, and that good ones are not."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    GPT2ForSequenceClassification,
    T5Config,
)

from memphis.config.forms import parse
from memphis.errors import MemphisError, NotLoadable
from memphis.pipeline import KINDS
from memphis.stages import base
from memphis.stages.context import Context, Runtime, Worker
from memphis.training import checks
from tests.tiny_models import tokenizer

SIZES = {
    "vocab_size": 200, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 64, "pad_token_id": None, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
OF_NEOX = {key: SIZES[key] for key in SIZES if key not in ("num_key_value_heads", "head_dim")}
GPT2 = {
    "vocab_size": 200,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
MOE = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {**SIZES, "tie_word_embeddings": True},
    "qwen3": {**SIZES, "tie_word_embeddings": False},
    "qwen3_moe": {**SIZES, **MOE},  # its experts are fused while they are read
    "gpt2": GPT2,
    "gpt_neox": OF_NEOX,
    "gpt_neo": {"vocab_size": 200, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0},
    "mamba": {"vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0},
}  # fmt: skip


def make(path: Path, kind: str, config: Any = None, dtype: torch.dtype = torch.float32) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config or CONFIG_MAPPING[kind](**FAMILIES[kind]), dtype=dtype)
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def pinned(source: Path, out: Path) -> dict[str, Any]:
    """Run stage base on a checkpoint."""
    out.mkdir()
    context = Context("base", {}, 0, 0, {"model": str(source)}, out, Worker(Runtime("cpu", 1, 4096)))
    return base.run(context, parse(KINDS["base"].form, {"base": None}))


def change(path: Path, file: str = "config.json", /, **values: Any) -> None:
    """Edit a JSON file; None removes a key."""
    content = {**json.loads((path / file).read_text()), **values}
    (path / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def weights(path: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(path / "model.safetensors")
    edit(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def header(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Edit the header of the weights and nothing else; `edit` returns another one, or changes it."""
    file = path / "model.safetensors"
    content = file.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    old = json.loads(content[8 : 8 + size])
    text = json.dumps(edit(old) or old).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


def index(path: Path, content: Any) -> None:
    (path / "model.safetensors").rename(path / "model-00001-of-00001.safetensors")
    (path / "model.safetensors.index.json").write_text(json.dumps(content))


def replace(path: Path, file: str, by: Callable[[Path], Any]) -> None:
    (path / file).unlink()
    by(path / file)


def first(tensors: dict[str, Any]) -> Any:
    return tensors["model.embed_tokens.weight"]


NORM = "model.norm.weight"
ONE = "model-00001-of-00001.safetensors"
# Name -> (change of a tied llama, kind of error, words of its message).
BAD: dict[str, tuple[Callable[[Path], Any], type[MemphisError], str]] = {
    # config.json
    "no config": (lambda p: (p / "config.json").unlink(), NotLoadable, "config.json cannot be read (FileNotFoundError"),
    "no JSON": (lambda p: (p / "config.json").write_text("{"), NotLoadable, "config.json cannot be read"),
    "no text": (lambda p: (p / "config.json").write_bytes(b"\xff\xfe"), NotLoadable, "config.json cannot be read"),
    "deep": (lambda p: (p / "config.json").write_text("[" * 100_000), NotLoadable, "config.json cannot be read"),
    "list": (lambda p: (p / "config.json").write_text("[]"), NotLoadable, 'no object with a "model_type"'),
    "config a pipe": (lambda p: replace(p, "config.json", os.mkfifo), NotLoadable, "config.json cannot be read"),
    "config a directory": (lambda p: replace(p, "config.json", Path.mkdir), NotLoadable, "config.json cannot be read"),
    "no type": (lambda p: change(p, model_type=None), NotLoadable, 'no object with a "model_type"'),
    "type a number": (lambda p: change(p, model_type=3), NotLoadable, 'no object with a "model_type"'),
    "unknown type": (lambda p: change(p, model_type="foo"), NotLoadable, "transformers does not have model_type='foo': try a newer"),
    "architectures a text": (lambda p: change(p, architectures="LlamaForCausalLM"), NotLoadable, "architectures is no list of names"),
    "own code": (lambda p: change(p, model_type="foo", auto_map={"AutoModelForCausalLM": "foo.Foo"}), NotLoadable, "trust_remote_code) is never run"),
    "own class": (lambda p: change(p, architectures=["Foo"], auto_map={"AutoModelForCausalLM": "foo.Foo"}), NotLoadable, "needs its own code (auto_map: Foo; trust_remote_code)"),
    "quantised": (lambda p: change(p, quantization_config={"quant_method": "gptq", "bits": 4}), NotLoadable, "quantised weights (quantization_config) are not read"),
    "adapter": (lambda p: (p / "adapter_config.json").write_text("{}"), NotLoadable, "merge it into its model"),
    "vision": (lambda p: change(p, model_type="clip"), NotLoadable, "model_type='clip' is not a causal language model"),
    "seq2seq": (lambda p: change(p, **T5Config().to_diff_dict()), NotLoadable, "model_type='t5' is not a causal language model"),
    "bart": (lambda p: change(p, model_type="bart", is_encoder_decoder=True), NotLoadable, "model_type='bart' is not a causal language model"),
    "sizes as text": (lambda p: change(p, hidden_size="32"), NotLoadable, "transformers refuses config.json"),
    "heads that do not divide": (lambda p: change(p, num_attention_heads=5, head_dim=None), NotLoadable, "config.json"),
    "no heads": (lambda p: change(p, num_attention_heads=0, head_dim=None), NotLoadable, "config.json"),
    "activation": (lambda p: change(p, hidden_act="foo"), NotLoadable, "config.json makes no model"),
    "dtype": (lambda p: change(p, dtype="float7"), NotLoadable, "transformers refuses config.json"),
    "rope": (lambda p: change(p, rope_parameters={"rope_type": "foo", "rope_theta": 1.0}), NotLoadable, "config.json"),
    "pad id": (lambda p: change(p, pad_token_id=200), NotLoadable, "Padding_idx"),
    # config.json and weights
    "more layers": (lambda p: change(p, num_hidden_layers=3), NotLoadable, "9 tensors (model.layers.2.input_layernorm.weight, "),
    "a million layers": (lambda p: change(p, num_hidden_layers=10**6), NotLoadable, "num_hidden_layers=1000000, but there are only 20 tensors"),
    "fewer layers": (lambda p: change(p, num_hidden_layers=1), NotLoadable, "9 tensors (model.layers.1.input_layernorm.weight, "),
    "huge": (lambda p: change(p, hidden_size=4096, head_dim=16, vocab_size=10**8), NotLoadable, "parameters, but there are 24,992;"),
    "vocabulary": (lambda p: change(p, vocab_size=210), NotLoadable, "model.embed_tokens.weight is [200, 32], config.json says [210, 32]"),
    "hidden": (lambda p: change(p, hidden_size=16), NotLoadable, "20 of the tensors have another shape"),
    "no head": (lambda p: change(p, tie_word_embeddings=False), NotLoadable, "1 tensor (lm_head.weight) missing that config.json asks for; "),
    "another's config": (lambda p: change(p, model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"]), NotLoadable, "config.json"),
    "near relative": (lambda p: change(p, model_type="qwen3"), NotLoadable, "self_attn.k_norm.weight"),
    "another head": (lambda p: weights(p, lambda t: t.update({"lm_head.weight": first(t) + 1})), NotLoadable, "config.json ties lm_head.weight to the embedding, but the two differ"),
    "extra tensor": (lambda p: weights(p, lambda t: t.update(extra=torch.ones(2))), NotLoadable, "1 tensor (extra) that the model of config.json does not have"),
    "missing tensor": (lambda p: weights(p, lambda t: t.pop(NORM)), NotLoadable, f"1 tensor ({NORM}) missing that config.json asks for"),
    "other shape": (lambda p: weights(p, lambda t: t.update({NORM: torch.ones(31)})), NotLoadable, f"{NORM} is [31], config.json says [32]"),
    "bytes": (lambda p: weights(p, lambda t: t.update({"model.embed_tokens.weight": first(t).to(torch.int8)})), NotLoadable, "has dtype I8: quantised weights"),
    "float8": (lambda p: weights(p, lambda t: t.update({"model.embed_tokens.weight": first(t).to(torch.float8_e4m3fn)})), NotLoadable, "has dtype F8_E4M3: quantised weights"),
    "NaN": (lambda p: weights(p, lambda t: t[NORM][3].fill_(torch.nan)), MemphisError, f"{NORM} holds NaN or Inf"),
    "Inf": (lambda p: weights(p, lambda t: first(t)[7, 3].fill_(-torch.inf)), MemphisError, "model.embed_tokens.weight holds NaN or Inf"),
    # files
    "pickle": (lambda p: (p / "model.safetensors").rename(p / "pytorch_model.bin"), NotLoadable, "no *.safetensors there"),
    "gguf": (lambda p: (p / "model.safetensors").rename(p / "model.gguf"), NotLoadable, "no *.safetensors there"),
    "another name": (lambda p: (p / "model.safetensors").rename(p / "weights.safetensors"), NotLoadable, "there is neither; rename"),
    "two checkpoints": (lambda p: (p / "model.safetensors.index.json").write_text("{}"), NotLoadable, "there is model.safetensors and model.safetensors.index.json; rename or remove"),
    "weights a pipe": (lambda p: replace(p, "model.safetensors", os.mkfifo), MemphisError, "model.safetensors: not a file"),
    "weights a directory": (lambda p: replace(p, "model.safetensors", Path.mkdir), MemphisError, "model.safetensors: not a file"),
    "weights a link to nothing": (lambda p: replace(p, "model.safetensors", lambda f: f.symlink_to("nowhere")), NotLoadable, "there is neither; rename"),
    "empty file": (lambda p: (p / "model.safetensors").write_bytes(b""), MemphisError, "model.safetensors: "),
    "zeros": (lambda p: (p / "model.safetensors").write_bytes(bytes(100)), MemphisError, "its header is damaged"),
    "page of a web site": (lambda p: (p / "model.safetensors").write_text("<!DOCTYPE html>" * 9), MemphisError, "the file ends inside its header"),
    "length 2^62": (lambda p: (p / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}"), MemphisError, "the file ends inside its header"),
    "cut off": (lambda p: os.truncate(p / "model.safetensors", (p / "model.safetensors").stat().st_size - 4), MemphisError, f"the file ends inside tensor {NORM}"),
    "bytes too many": (lambda p: (p / "model.safetensors").open("ab").write(b"1234"), MemphisError, "model.safetensors: damaged"),
    "header a list": (lambda p: header(p, list), MemphisError, "its header is damaged"),
    "entry a number": (lambda p: header(p, lambda h: h.update({NORM: 3})), MemphisError, "its header is damaged"),
    "no offsets": (lambda p: header(p, lambda h: h[NORM].pop("data_offsets") and None), MemphisError, "its header is damaged"),
    "one offset": (lambda p: header(p, lambda h: h[NORM].update(data_offsets=[3])), MemphisError, "its header is damaged"),
    "offset a text": (lambda p: header(p, lambda h: h[NORM].update(data_offsets=["a", "b"])), MemphisError, "its header is damaged"),
    "overlap": (lambda p: header(p, lambda h: h[NORM].update(data_offsets=[0, 128])), MemphisError, "model.safetensors: damaged"),
    "negative offset": (lambda p: header(p, lambda h: h[NORM].update(data_offsets=[-128, 0])), MemphisError, "model.safetensors: damaged"),
    "shape a text": (lambda p: header(p, lambda h: h[NORM].update(shape="32")), MemphisError, "model.safetensors: damaged"),
    "shape too large": (lambda p: header(p, lambda h: h[NORM].update(shape=[2**40])), MemphisError, "model.safetensors: damaged"),
    "dtype of the header": (lambda p: header(p, lambda h: h[NORM].update(dtype="F7")), MemphisError, "model.safetensors: damaged"),
    "dtype a number": (lambda p: header(p, lambda h: h[NORM].update(dtype=7)), MemphisError, "model.safetensors: damaged"),
    "index a list": (lambda p: index(p, []), MemphisError, "index.json: not an index of shards"),
    "index of a list": (lambda p: index(p, {"metadata": {}, "weight_map": [ONE]}), MemphisError, "index.json: not an index of shards"),
    "index of numbers": (lambda p: index(p, {"metadata": {}, "weight_map": {"a": 1}}), MemphisError, "index.json: not an index of shards"),
    "index of lists": (lambda p: index(p, {"metadata": {}, "weight_map": {"a": [ONE]}}), MemphisError, "index.json: not an index of shards"),
    "index without metadata": (lambda p: index(p, {"weight_map": {"a": ONE}}), MemphisError, "not an index of shards"),
    "index of nothing": (lambda p: index(p, {"metadata": {}, "weight_map": {}}), MemphisError, "not an index of shards"),
    "shard not there": (lambda p: index(p, {"metadata": {}, "weight_map": {"a": ONE, "b": "model-00002-of-00002.safetensors"}}), MemphisError, "1 of 2 shards are not there"),
    "shard elsewhere": (lambda p: index(p, {"metadata": {}, "weight_map": {"a": "../bad/" + ONE}}), MemphisError, "which is no file of this directory"),
    # tokenizer
    "no tokenizer": (lambda p: [f.unlink() for f in p.glob("token*")], MemphisError, "no tokenizer could be loaded"),
    "no tokenizer.json": (lambda p: (p / "tokenizer.json").unlink(), MemphisError, "tokenizer"),
    "tokenizer cut off": (lambda p: os.truncate(p / "tokenizer.json", 100), MemphisError, "no tokenizer could be loaded"),
    "tokenizer a list": (lambda p: (p / "tokenizer.json").write_text("[]"), MemphisError, "no tokenizer could be loaded"),
    "tokenizer a directory": (lambda p: replace(p, "tokenizer.json", Path.mkdir), MemphisError, "tokenizer"),
    "settings a list": (lambda p: (p / "tokenizer_config.json").write_text("[]"), MemphisError, "no tokenizer could be loaded"),
    "too many tokens": (lambda p: tokens(p, "<|extra|>"), MemphisError, "the tokenizer has ids up to 200, but the embedding has 200 rows"),
    "EOS outside": (lambda p: tokens(p, eos_token="<|end|>"), MemphisError, "the EOS token has id 200, but the embedding has 200 rows"),
    "EOS of generation outside": (lambda p: change(p, "generation_config.json", eos_token_id=[0, 99999]), MemphisError, "generation_config.json has eos_token_id=99999, but the embedding has 200 rows; set it to 0"),
    "EOS of the config outside": (lambda p: change(p, eos_token_id=200), MemphisError, "config.json has eos_token_id=200, but the embedding has 200 rows; set it to 0"),
    "generation config torn": (lambda p: (p / "generation_config.json").write_text("{"), MemphisError, "generation_config.json"),
    "EOS a word": (lambda p: change(p, "tokenizer_config.json", eos_token="x"), MemphisError, "the EOS token 'x' is an ordinary word of the tokenizer"),
    "BOS outside": (lambda p: tokens(p, bos_token="<|begin|>"), MemphisError, "the BOS token has id 200, but the embedding has 200 rows"),
}  # fmt: skip


def tokens(path: Path, *added: str, **special: str) -> None:
    words = AutoTokenizer.from_pretrained(path)
    words.add_tokens(list(added))
    words.add_special_tokens(special)
    words.save_pretrained(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("good"), "llama")


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    path = tmp_path / "bad"
    path.mkdir()
    for file in good.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


def refusal(source: Path, out: Path) -> MemphisError:
    with pytest.raises(MemphisError) as fault:
        pinned(source, out)
    message = str(fault.value)
    assert message.startswith(f"model.path={source}: "), message
    assert str(out) not in message  # it names the user's path, not the store's
    assert message.count(str(source)) == 1
    assert "\n" not in message
    assert len(message.removeprefix(f"model.path={source}: ")) < 400
    assert str(source) not in getattr(fault.value, "reason", "")  # the reason goes into a published table
    return fault.value


@pytest.mark.parametrize("name", BAD)
def test_a_bad_checkpoint_is_refused_in_one_line(name: str, copy: Path, tmp_path: Path) -> None:
    edit, kind, words = BAD[name]
    edit(copy)
    fault = refusal(copy, tmp_path / "out")
    assert words in str(fault)
    assert type(fault) is kind


def test_a_model_that_reads_later_tokens_is_refused(tmp_path: Path) -> None:
    config = BertConfig(**OF_NEOX)
    path = make(tmp_path / "bert", "bert", config)
    assert "BertLMHeadModel reads later tokens: not a causal language model" in str(refusal(path, tmp_path / "1"))
    change(path, is_decoder=True)
    pinned(path, tmp_path / "2")


def test_a_classifier_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "classifier", "gpt2")
    GPT2ForSequenceClassification(CONFIG_MAPPING["gpt2"](**GPT2)).save_pretrained(path)
    assert "1 tensor (score.weight) that the model of config.json does not have" in str(refusal(path, tmp_path / "1"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_good_checkpoint_is_taken(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    assert pinned(make(tmp_path / "model", kind, dtype=dtype), tmp_path / "out")["fingerprint"]


@pytest.mark.parametrize("kind", FAMILIES)
def test_weights_that_do_not_fit_in_float32_are_checked_as_they_are(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, loaded, load = make(tmp_path / "model", kind, dtype=torch.bfloat16), [], AutoModelForCausalLM.from_pretrained

    def watched(*words: Any, **named: Any) -> Any:
        loaded.append(named["dtype"])
        return load(*words, **named)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", watched)
    for free, dtype in [(1 << 30, torch.float32), (1, "auto")]:
        monkeypatch.setattr(checks, "free_memory", lambda free=free: free)
        assert checks.check_model(path) == SIZES["vocab_size"]
        assert loaded.pop() == dtype


def add(**tensors: torch.Tensor) -> Callable[[Path], None]:
    return lambda path: weights(path, lambda t: t.update({k.replace("__", "."): v for k, v in tensors.items()}))


def rename(path: Path, old: str, new: str) -> None:
    weights(path, lambda t: [t.update({k.replace(old, new, 1): t.pop(k)}) for k in list(t) if k.startswith(old)])


MASK = torch.ones(1, 1, 64, 64, dtype=torch.uint8)
# Name -> (family, change that transformers understands).
HARMLESS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "rotary buffers": ("llama", add(model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(8))),
    "the tied head again": ("llama", lambda p: weights(p, lambda t: t.update({"lm_head.weight": first(t).clone()}))),
    "no architectures": ("llama", lambda p: change(p, architectures=None)),
    "architectures of None": ("llama", lambda p: (p / "config.json").write_text((p / "config.json").read_text().replace('"LlamaForCausalLM"', "").replace("[\n    \n  ]", "null"))),
    "code that is not needed": ("llama", lambda p: change(p, architectures=["LLaMAForCausalLM"], auto_map={"AutoModelForCausalLM": "foo.Foo"})),
    "shards": ("llama", lambda p: index(p, {"metadata": {}, "weight_map": {"a": ONE}})),
    "special tokens outside": ("llama", lambda p: tokens(p, pad_token="[PAD]")),
    "masks of gpt2": ("gpt2", add(transformer__h__0__attn__bias=MASK, transformer__h__1__attn__masked_bias=torch.tensor(-1e4))),
    "no prefix": ("gpt2", lambda p: rename(p, "transformer.", "")),
    "masks of gpt2 without prefix": ("gpt2", lambda p: [add(transformer__h__0__attn__bias=MASK)(p), rename(p, "transformer.", "")]),
    "masks of gpt_neo": ("gpt_neo", add(transformer__h__0__attn__attention__bias=MASK, transformer__h__1__attn__attention__masked_bias=torch.tensor(-1e9))),
    "masks of gpt_neox": ("gpt_neox", add(gpt_neox__layers__0__attention__bias=MASK, gpt_neox__layers__1__attention__masked_bias=torch.tensor(-torch.inf), gpt_neox__layers__1__attention__rotary_emb__inv_freq=torch.ones(2))),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_what_transformers_understands_is_taken(name: str, tmp_path: Path) -> None:
    kind, edit = HARMLESS[name]
    path = make(tmp_path / "model", kind)
    edit(path)
    pinned(path, tmp_path / "out")


def test_files_are_checked_without_torch(good: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from memphis.training import checks; "
        f"checks.check_files(Path({str(good)!r})); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
