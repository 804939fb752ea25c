"""Made-up hub: a cache in huggingface_hub's layout, one in that of `datasets`, a server that takes uploads; and a stand-in
for the data set that must not be redistributed."""

import base64
import json
import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
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


def put_prepared(cache: Path, repo: str, config: str, rows: list[dict[str, Any]]) -> Path:
    """Write `rows` as all three splits of a data set that `datasets` has prepared to its cache (HF_DATASETS_CACHE)."""
    owner, _, name = repo.partition("/")
    folder = cache / f"{owner}___{name}" / config / "0.0.0" / ("0" * 40)
    folder.mkdir(parents=True)
    table = datasets.Dataset.from_list(rows)
    splits = datasets.SplitDict()
    for split in ("train", "validation", "test"):
        with datasets.arrow_writer.ArrowWriter(
            path=str(folder / f"{name}-{split}.arrow"), features=table.features
        ) as file:
            file.write_table(table.data.table)
            count, size = file.finalize()
        splits.add(datasets.SplitInfo(name=split, num_bytes=size, num_examples=count, dataset_name=name))
    info = datasets.DatasetInfo(
        features=table.features,
        builder_name="parquet",
        dataset_name=name,
        config_name=config,
        version="0.0.0",
        splits=splits,
    )
    info.write_to_directory(str(folder))
    return folder


@dataclass
class Uploads:
    """What a server on this machine got in place of the hub. address: for HF_ENDPOINT."""

    address: str
    created: list[dict[str, Any]] = field(default_factory=list)  # requests for new repositories
    files: dict[str, bytes] = field(default_factory=dict)  # path in the repository -> content
    tokens: set[str] = field(default_factory=set)


@contextmanager
def uploads() -> Iterator[Uploads]:
    """Answer what `hf auth login` and `hf upload` ask of the hub, as far as they need it; keep what they send."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer: dict[str, Any] = {}
            if self.path == "/api/whoami-v2":
                found.tokens.add(self.headers["Authorization"].removeprefix("Bearer "))
                token = {"displayName": "laptop", "role": "write"}
                answer = {"type": "user", "name": "you", "auth": {"type": "access_token", "accessToken": token}}
            elif self.path == "/api/repos/create":
                found.created.append(json.loads(body))
                answer = {"url": f"{found.address}/{found.created[-1]['organization']}/{found.created[-1]['name']}"}
            elif "/preupload/" in self.path:
                names = [file["path"] for file in json.loads(body)["files"]]
                answer = {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
            elif "/commit/" in self.path:
                lines = [json.loads(line)["value"] for line in body.splitlines()]
                found.files |= {line["path"]: base64.b64decode(line["content"]) for line in lines if "path" in line}
                repo = self.path.removeprefix("/api/models/").partition("/commit/")[0]
                answer = {
                    "commitUrl": f"{found.address}/{repo}/commit/{'0' * 40}",
                    "commitOid": "0" * 40,
                    "success": True,
                }
            text = json.dumps(answer).encode()
            self.send_response(200)
            for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(text)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Uploads(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


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
