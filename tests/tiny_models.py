"""Small random models on disk, and the single vLLM engine that all tests of a session share."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast

from memphis.sampling import Engine, open_engine
from memphis.training.model import new_tiny, save


def tokenizer(extra: str = "") -> PreTrainedTokenizerFast:
    """Train a byte-level BPE with an ASCII alphabet, so that every sequence of tokens is text."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    letters = "".join(map(chr, range(32, 127))) + "\n"
    words = (
        "### User: ### Rationale: ### Answer: Q: A: Let's think step by step. So the answer is pens cards has 12 7 "
        + extra
    )
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<|endoftext|>"], show_progress=False)
    learner.train_from_iterator([letters, *[words] * 20], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=learner, eos_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )


def benchmark_tokenizer(benchmarks: Path) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the benchmarks: their longest prompts fit in 4,096 tokens, as with a real tokenizer."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    files = [*sorted(benchmarks.glob("bbh/cot-prompts/*.txt")), *sorted(benchmarks.glob("bbh/test/*.jsonl"))]
    learner.train_from_iterator((line for file in files for line in file.open(encoding="utf-8")), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=learner, eos_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )


def write_model(
    path: Path,
    seed: int,
    hidden: int = 32,
    max_positions: int = 512,
    vocabulary: PreTrainedTokenizerFast | None = None,
) -> Path:
    """Write a random StableLM with weights so large that its most probable tokens are clear winners."""
    vocabulary = vocabulary or tokenizer()
    model = new_tiny(
        vocabulary, hidden=hidden, layers=2, heads=hidden // 32, intermediate=64, max_positions=max_positions, seed=seed
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10 / 3)
    save(model, vocabulary, path)
    return path


def write_bloom(path: Path) -> Path:
    """Write a random Bloom, whose rows cannot be packed: its positions are no input."""
    vocabulary = tokenizer()
    config = BloomConfig(vocab_size=len(vocabulary), hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2)
    save(BloomForCausalLM(config), vocabulary, path)
    return path


def write_taught(path: Path, kind: str, rows: Sequence[tuple[str, str]], steps: int) -> Path:
    """Write a model of transformers' type `kind` that has seen rows (prompt, completion) for so many steps of 16 rows:
    it keeps their form, and its answers are right now and then."""
    vocabulary = tokenizer(" ".join(prompt + completion for prompt, completion in rows))
    ids = [
        [vocabulary(text).input_ids for text in (prompt, completion + vocabulary.eos_token)]
        for prompt, completion in rows
    ]
    width = max(len(prompt) + len(completion) for prompt, completion in ids)
    inputs = torch.tensor([[*a, *b, *[0] * (width - len(a + b))] for a, b in ids])
    labels = torch.tensor([[*[-100] * len(a), *b, *[-100] * (width - len(a + b))] for a, b in ids])
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    config = AutoConfig.for_model(
        kind, vocab_size=len(vocabulary), max_position_embeddings=512, bos_token_id=0, eos_token_id=0, **sizes
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        some = torch.randperm(len(rows))[:16]
        model(input_ids=inputs[some], labels=labels[some]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save(model, vocabulary, path)
    return path


_started: list[Engine] = []  # two vLLM engines in one process conflict


def vllm_engine(path: Path) -> Engine:
    """Return the session's engine, loaded with the weights of `path`."""
    if not _started:
        _started.append(open_engine("vllm", path, dtype="float32"))
    _started[0].load(path)
    return _started[0]
