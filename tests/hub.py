"""Made-up hub cache in huggingface_hub's layout, and a stand-in for the data set that must not be redistributed."""

import json
import random
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
dataset_info:
  splits:
  - name: train
    num_examples: 27676
---
# A data set
"""
WORDS = [
    "my",
    "landlord",
    "bike",
    "cat",
    "tax",
    "degree",
    "oven",
    "job",
    "how",
    "why",
    "should",
    "what",
    "fix",
    "learn",
]


def put_dataset(
    cache: Path, repo: str, commit: str, rows: list[dict[str, Any]], branch: str = "main", shards: int = 1
) -> Path:
    """Write a parquet data set to the cache directory (HF_HUB_CACHE); return its snapshot directory.

    shards: number of its files, each of which has all `rows`.
    """
    table = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), table)
    content = table.getvalue().to_pybytes()
    names = [f"data/train-{number:05d}-of-{shards:05d}.parquet" for number in range(shards)]
    files = {"README.md": CARD.encode(), **dict.fromkeys(names, content)}
    return _put(cache / f"datasets--{repo.replace('/', '--')}", commit, files, branch)


def put_model(cache: Path, repo: str, commit: str, model: Path) -> Path:
    """Write the files of a checkpoint directory to the cache; return the snapshot directory."""
    files = {file.name: file.read_bytes() for file in model.iterdir()}
    return _put(cache / f"models--{repo.replace('/', '--')}", commit, files, "main")


def _put(root: Path, commit: str, files: dict[str, bytes], branch: str) -> Path:
    snapshot = root / "snapshots" / commit
    for folder in (root / "blobs", root / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        blob = root / "blobs" / sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).parent.mkdir(exist_ok=True)
        (snapshot / name).symlink_to(blob)
    (root / "refs" / branch).write_text(commit)
    return snapshot


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def reddit(n: int, seed: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return `n` rows like those of euclaise/reddit-instruct, and how many of them have a title without square brackets
    and a comment that is not blank."""
    rng = random.Random(seed)
    rows, kept = [], 0
    for number in range(n):
        title = f"{' '.join(rng.choices(WORDS, k=rng.randint(3, 9)))} {number}"
        draw = rng.random()
        if draw < 0.12:
            tag = rng.choice(["[serious]", "[NSFW]", "[x"])
            title = rng.choice([f"{tag} {title}", f"{title} {tag}", f"{title[:5]}{tag}{title[5:]}"])
        elif draw < 0.17:
            title += " (24F)"
        body = "" if (kind := rng.random()) < 0.1 else " ".join(rng.choices(WORDS, k=20))
        if 0.1 <= kind < 0.15:
            body += "\n\n- one\n- two\n\nThanks"
        if rng.random() < 0.03:
            body += " naïve café 🙂"
        comment = "\n\n".join(" ".join(rng.choices(WORDS, k=12)) for _ in range(rng.randint(1, 4)))
        blank = rng.random() < 0.01
        kept += draw >= 0.12 and not blank
        rows.append(
            {
                "post_title": title,
                "post_text": body,
                "post_scores": rng.randint(-5, 900),
                "comment_text": rng.choice(["", " \n "]) if blank else comment,
                "comment_score": rng.randint(-9, 400),
            }
        )
    return rows, kept
