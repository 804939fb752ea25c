"""Read a data source into rows through the `datasets` library: a hub id (downloaded, or from the cache), a local
.jsonl, .json or .parquet file, or a directory. `cleaning` decides what becomes of a single record.

The hub's files are taken as one snapshot, so that a cached commit is read without a network (HF_HUB_OFFLINE=1), and a
branch is resolved to a commit, which is recorded. `datasets` finds files and splits in it and reads parquet. JSON is
parsed here: in a column of mixed types `datasets` turns "2" into 2 near the file's beginning and 2 into "2" further on,
and it does not report the number of a broken line.
"""

import glob
import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import constants, snapshot_download
from pyarrow import parquet

from memphis.config.sections import SourceRows
from memphis.data import cleaning, heldout
from memphis.errors import MemphisError

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
_FILES = ["*.md", "*.json", "*.jsonl", "*.parquet", "*.json.gz", "*.jsonl.gz", "*.jsonl.zst", "*.csv"]


@dataclass(frozen=True)
class Read:
    """Result of reading a source."""

    rows: list[dict[str, Any]]
    counts: dict[str, int]  # rows, kept, and dropped_<reason> for every reason that occurred; rows = kept + all dropped
    revision: str | None  # commit of a hub id, None for a local path
    warnings: list[str]  # for the user, one line each


@dataclass(frozen=True)
class _Source:
    name: str  # key in data.sources
    path: str
    config: SourceRows

    def fault(self, text: str, key: str = "") -> MemphisError:
        """Return an error that starts with the key: `data.sources.<name>.<key>`."""
        return MemphisError(f"data.sources.{self.name}{key and f'.{key}'}: {text}")

    @property
    def title(self) -> str:
        return f"{self.path}[{self.config.split}]"


@dataclass(frozen=True)
class _Table:
    types: dict[str, str]  # column -> readable type name; `string or int64` if there are several
    records: list[dict[str, Any]]  # a column may be missing
    splits: list[str]  # all that exist, this one included


def read(
    name: str, place: str, config: SourceRows, *, max_drop_frac: float, min_rationale_chars: int, scratch: Path
) -> Read:
    """Read all rows of a source in its own order; with `limit`, the first after a shuffle by `subset_seed` (of each
    of `origins`), and the held-out share of all rows beside them.

    place: a local path, or `owner/name@revision` of the hub.
    config: the source's section of the configuration, without path and revision.
    scratch: a directory that may be written to; it is deleted afterwards.
    Raises MemphisError if there is no such source, if a required column is missing or is no text, if the source is
    empty, or if more than `max_drop_frac` of its records are bad.
    """
    local = Path(place).exists()
    path, _, revision = (place, "", "") if local else place.rpartition("@")
    source = _Source(name, path, config)
    location = Path(path) if local else _snapshot(source, revision)
    try:
        table = _load(source, location, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    rows, counts = _clean(source, table, max_drop_frac, min_rationale_chars)
    warning = f"data.sources.{name}: {source.title} has {counts['rows']} rows, expected were {config.expect_rows}"
    warnings = [] if config.expect_rows in (None, counts["rows"]) else [warning]
    return Read(rows, counts, None if local else location.name, warnings)


def _snapshot(source: _Source, revision: str) -> Path:
    """Return the directory of a data set's commit in the hub's cache, downloaded if needed; its name is the commit."""
    if Path(source.path).suffix in FORMATS:
        raise source.fault(f"{source.path}: no such file", "path")
    try:
        return Path(snapshot_download(source.path, repo_type="dataset", revision=revision, allow_patterns=_FILES))
    except Exception as error:  # includes the errors of several HTTP libraries
        what = f"{source.path} at revision {revision}"
        if constants.HF_HUB_OFFLINE:
            cached = Path(constants.HF_HUB_CACHE) / f"datasets--{source.path.replace('/', '--')}" / "snapshots"
            found = ", ".join(sorted(entry.name for entry in cached.glob("*"))) or "nothing of it"
            raise source.fault(
                f"{what} is not, or not wholly, in the cache (which has {found}), and HF_HUB_OFFLINE=1 forbids "
                "the network; run the same command with until=data where there is a network",
                "revision",
            ) from error
        raise source.fault(
            f"{what} cannot be had ({_line(error)}); check spelling and network, HF_TOKEN for private and gated ones",
            "path",
        ) from error


def _load(source: _Source, location: Path, scratch: Path) -> _Table:
    """Load the configured split."""
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # errors are reported below, in one line
    files: dict[str, Any] = {}
    if location.is_dir():
        what = str(location)
    elif location.suffix in FORMATS:
        what, files = FORMATS[location.suffix], {"data_files": {"train": glob.escape(str(location))}}
    else:
        raise source.fault(f"{source.path}: not a {', '.join(FORMATS)} file or a directory of such files", "path")
    split = source.config.split
    try:
        builder = datasets.load_dataset_builder(what, cache_dir=str(scratch), **files)
        found = {str(name): files for name, files in (builder.config.data_files or {}).items()}
        # `datasets` fails on parquet files without rows.
        full = [n for n in found.get(split, ()) if not n.endswith(".parquet") or parquet.read_metadata(n).num_rows]
        if full and not all(Path(name).suffix in (".json", ".jsonl") for name in full):
            builder.config.data_files = {split: full}  # the other splits need not have the same columns
            builder.download_and_prepare(verification_mode="no_checks")
            table = builder.as_dataset(split=split, in_memory=True)  # because `scratch` is removed
            types = {name: _type(feature) for name, feature in table.features.items()}
            return _Table(types, table.to_list(), list(found))
    except Exception as error:  # errors of pyarrow and of the library itself
        raise source.fault(f"{source.title} cannot be read ({_line(error)})", "path") from error
    if split not in found:
        raise source.fault(f"{source.path} has no split {split!r} (found: {', '.join(found)})", "split")
    records = [record for name in full for record in _json_records(source, Path(name))]
    seen: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in record.items():
            seen.setdefault(name, {})[_type(value)] = None
    types = {
        name: " or ".join([kind for kind in kinds if kind != "null"][:4]) or "null" for name, kinds in seen.items()
    }
    return _Table(types, records, list(found))


def _json_records(source: _Source, file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file that is one JSON list, or has one object per line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        whole = text.lstrip().startswith("[")
        values = enumerate(json.loads(text), 1) if whole else _lines(text)
        for number, value in values:
            if not isinstance(value, dict):
                raise ValueError(f"{'element' if whole else 'line'} {number} is no object: {str(value)[:40]!r}")
            yield value
    except (ValueError, RecursionError) as error:
        raise source.fault(f"{file} cannot be read ({_line(error)})", "path") from error


def _lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {str(error).split(':')[0]}") from None


def _clean(
    source: _Source, table: _Table, max_drop_frac: float, min_rationale_chars: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    total = len(table.records)
    if not total:
        raise source.fault(f"{source.title} has no rows; splits found: {', '.join(table.splits)}", "path")
    columns = _columns(source, table)
    kind, limit = source.config.kind, source.config.limit
    dropped: Counter[str] = Counter()
    examples: dict[str, str] = {}
    records = {
        index: {role: record.get(column) for role, column in columns.items()}
        for index, record in enumerate(table.records)
    }
    if source.config.title_exclude is not None:
        records = _without_titles(source, source.config.title_exclude, records)
        dropped["title"] = total - len(records)
    groups = {i: cleaning.group(_origin(source, fields), source.config.origins) for i, fields in records.items()}
    dropped["origin"] = sum(name is None for name in groups.values())
    records = {index: fields for index, fields in records.items() if groups[index] is not None}
    taken: Counter[str | None] = Counter()
    rows: list[dict[str, Any]] = []
    order = list(records)
    if limit is not None:  # shuffled as Dataset.shuffle does: "the first 5000 of seed 42" names certain rows
        order = datasets.Dataset.from_dict({"index": order}).shuffle(seed=source.config.subset_seed)["index"]
    for index in order:
        fields = records[index]
        try:
            made = cleaning.row(kind, fields, min_rationale_chars)
        except cleaning.Dropped as drop:
            dropped[drop.reason] += 1
            examples.setdefault(drop.reason, f"row {index}: {drop}")
            continue
        if not (isinstance(source.config.heldout, float) and heldout.chosen(made, source.config.heldout)):
            if taken[groups[index]] == limit:
                dropped["limit"] += 1
                continue
            taken[groups[index]] += 1
        rows.append({"id": f"{source.name}/{index}", "source": _origin(source, fields), "kind": kind, **made})
    counts = {"rows": total, "kept": len(rows)}
    counts |= {f"dropped_{r}": dropped[r] for r in (*cleaning.BAD, *cleaning.CHOSEN) if dropped[r]}
    bad = sum(dropped[reason] for reason in cleaning.BAD)
    why = ", ".join(f"{reason} {count}" for reason, count in dropped.most_common() if count)
    if bad > max_drop_frac * total:
        seen = "; ".join(examples[reason] for reason in cleaning.BAD if reason in examples)
        raise source.fault(
            f"{bad} of the {total} rows of {source.title} are bad ({why}), more than "
            f"data.max_drop_frac={max_drop_frac} ({seen}); mend them, or raise data.max_drop_frac"
        )
    if not rows:
        raise source.fault(f"no row of {source.title} is left ({why})")
    return rows, counts


def _origin(source: _Source, fields: dict[str, Any]) -> str:
    """Return what the record says of its origin, else the name of the source."""
    origin = fields.get("source")
    return origin.strip() if isinstance(origin, str) and origin.strip() else source.name


def _columns(source: _Source, table: _Table) -> dict[str, str]:
    """Return role -> column: the first of a role's names that exists, in exactly this spelling, else ignoring case."""
    types = table.types
    shown = ", ".join(f"{name} ({kind})" for name, kind in types.items())
    found = f"Found: {shown}; splits: {', '.join(table.splits)}"
    folded = {name.lower(): name for name in reversed(types)}
    chosen: dict[str, str] = {}
    missing: dict[str, str] = {}  # role -> the names that were tried
    for role, required in cleaning.ROLES[source.config.kind].items():
        names = source.config.columns.get(role, [role])
        cure = f"set 'data.sources.{source.name}.columns.{role}=[<name>]'"
        hits = [name for name in names if name in types] or [folded[n.lower()] for n in names if n.lower() in folded]
        if hits:
            chosen[role] = hits[0]
        elif required:
            missing[role] = ", ".join(names)
        wanted = "list" if role == "messages" else "string"
        fitting = (wanted, f"large_{wanted}", "json", "null")
        if hits and role != "source" and not any(t.startswith(fitting) for t in types[hits[0]].split(" or ")):
            raise source.fault(
                f"{source.title}: column {hits[0]!r} for {role!r} is {types[hits[0]]}, not {wanted}. "
                f"{found}; {cure}, or make it a {wanted} there"
            )
    if missing:
        tried = ", ".join(f"{role!r} (tried: {names})" for role, names in missing.items())
        first, *more = missing
        values = f"={{{', '.join(f'{role}: [<name>]' for role in missing)}}}" if more else f".{first}=[<name>]"
        cure = f"set 'data.sources.{source.name}.columns{values}'"
        raise source.fault(f"{source.title}: no column for {tried}. {found}; {cure}")
    return chosen


def _without_titles(source: _Source, pattern: str, records: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    try:
        excluded = re.compile(pattern)
    except re.error as error:
        raise source.fault(f"{pattern!r} is no regular expression ({error})", "title_exclude") from error
    titles = {index: fields.get("title") for index, fields in records.items()}
    return {i: records[i] for i, title in titles.items() if not (isinstance(title, str) and excluded.search(title))}


def _type(item: Any) -> str:
    """Name the type of a feature or of a value from JSON: `string`, `int64`, `list of {role, content}`."""
    if isinstance(item, datasets.Value):
        return str(item.dtype)
    if isinstance(item, datasets.List | datasets.LargeList):
        item = [item.feature]
    if isinstance(item, list):
        return f"list of {_type(item[0])}" if item else "list"
    if isinstance(item, dict):
        return f"{{{', '.join(item)}}}"
    names = {str: "string", bool: "bool", int: "int64", float: "float64", type(None): "null"}
    return names.get(type(item), type(item).__name__.lower())


def _line(error: BaseException) -> str:
    """Return the first line of the error at the end of the chain of causes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [""])[0] or type(error).__name__
