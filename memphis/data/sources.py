"""Read a data source into rows through the `datasets` library: a hub id (downloaded, or from the cache), a local file
(ROW_FILES), or a directory. `cleaning` decides what becomes of a single record.

The hub's files are taken as one snapshot, so that a cached commit is read without a network (HF_HUB_OFFLINE=1), and a
branch is resolved to a commit, which is recorded. `datasets` finds files and splits in it and reads parquet; `files`
reads text.
"""

import difflib
import glob
import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import IncompleteSnapshotError
from pyarrow import parquet

from memphis.config.sections import ROW_FILES, SourceRows
from memphis.data import cleaning, heldout
from memphis.data.files import records
from memphis.errors import MemphisError
from memphis.formatting import download_command

_FILES = ["*.md", *(f"*{suffix}" for suffix in ROW_FILES), "*.jsonl.zst"]
_FORMATS = ((".jsonl", ".json"), (".csv", ".tsv"), (".parquet",))  # suffixes that are read together
_SHARD = re.compile(r"(.*-)\d+(-of-(\d+)\b).*")


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
    download: str | None = None  # command that completes a data set of the hub

    def fault(self, text: str, key: str = "") -> MemphisError:
        """Return an error that starts with the key: `data.sources.<name>.<key>`."""
        return MemphisError(f"data.sources.{self.name}{key and f'.{key}'}: {text}")

    def incomplete(self, what: str) -> MemphisError:
        """Return the error for a data set of the hub whose files are not all in the cache."""
        return self.fault(f"{self.path} is not whole in the cache: {what}; complete it: {self.download}", "path")

    @property
    def title(self) -> str:
        return f"{self.path}[{self.config.split}]"


@dataclass(frozen=True)
class _Table:
    types: dict[str, str]  # column -> readable type name; `string or int64` if there are several
    records: list[dict[str, Any]]  # a column may be missing
    splits: list[str]  # all that exist, this one included
    unread: Sequence[str] = ()  # files with rows that are left out for their format


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
    source = _Source(name, path, config, None if local else download_command(path, revision, "dataset"))
    location = Path(path) if local else _snapshot(source, revision)
    try:
        table = _load(source, location, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    rows, counts = _clean(source, table, max_drop_frac, min_rationale_chars)
    warning = f"data.sources.{name}: {source.title} has {counts['rows']} rows, expected were {config.expect_rows}"
    warnings = [] if config.expect_rows in (None, counts["rows"]) else [warning]
    if table.unread:
        shown = ", ".join([*table.unread[:3], *(["…"] if len(table.unread) > 3 else [])])
        warnings.append(f"data.sources.{name}: {len(table.unread)} files of {source.path} are not read ({shown})")
    return Read(rows, counts, None if local else location.name, warnings)


def _snapshot(source: _Source, revision: str) -> Path:
    """Return the directory of a data set's commit in the hub's cache, downloaded if needed; its name is the commit."""
    if source.path.endswith(ROW_FILES):
        raise source.fault(f"{source.path}: no such file", "path")
    try:
        return Path(snapshot_download(source.path, repo_type="dataset", revision=revision, allow_patterns=_FILES))
    except IncompleteSnapshotError as error:
        what = str(error).partition("incomplete: ")[2].partition(". ")[0]
        raise source.incomplete(what or "files are missing") from error
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
    split = source.config.split
    try:
        builder = _builder(source, location, scratch)
        found = {str(name): list(files) for name, files in (builder.config.data_files or {}).items()}
        _check_whole(source, location, found.get(split, []))
        # `datasets` fails on parquet files without rows.
        full = [n for n in found.get(split, ()) if not n.endswith(".parquet") or parquet.read_metadata(n).num_rows]
        if full and not all(name.endswith(ROW_FILES) and not name.endswith(".parquet") for name in full):
            builder.config.data_files = {split: full}  # the other splits need not have the same columns
            builder.download_and_prepare(verification_mode="no_checks")
            table = builder.as_dataset(split=split, in_memory=True)  # because `scratch` is removed
            types = {name: _type(feature) for name, feature in table.features.items()}
            return _Table(types, table.to_list(), list(found), _unread(location, builder))
    except MemphisError:
        raise
    except Exception as error:  # errors of pyarrow and of the library itself
        if source.download and isinstance(error, FileNotFoundError):  # of the hub's files, or of all of a split
            raise source.incomplete(_line(error).partition(" with any supported extension")[0]) from error
        raise source.fault(f"{source.title} cannot be read ({_line(error)})", "path") from error
    if split not in found:
        cure = f"; if its files are missing: {source.download}" if source.download else ""
        raise source.fault(f"{source.path} has no split {split!r} (found: {', '.join(found)}){cure}", "split")
    read = [record for name in full for record in _records(source, Path(name))]
    seen: dict[str, dict[str, None]] = {}
    for record in read:
        for name, value in record.items():
            seen.setdefault(name, {})[_type(value)] = None
    types = {
        name: " or ".join([kind for kind in kinds if kind != "null"][:4]) or "null" for name, kinds in seen.items()
    }
    return _Table(types, read, list(found), _unread(location, builder))


def _builder(source: _Source, location: Path, scratch: Path) -> Any:
    """Return what `datasets` knows of a file or directory: in `config.data_files` the files of every split."""
    chosen = source.config.config
    if not location.is_dir():
        if not location.name.endswith(ROW_FILES):
            raise source.fault(f"{source.path}: not a {', '.join(ROW_FILES)} file or a directory of such files", "path")
        if chosen is not None:
            raise source.fault(f"{source.path} is a file, which has no configurations; leave it out", "config")
        what = "parquet" if location.suffix == ".parquet" else "json"
        files = {"train": glob.escape(str(location))}
        return datasets.load_dataset_builder(what, cache_dir=str(scratch), data_files=files)
    try:
        return datasets.load_dataset_builder(str(location), chosen, cache_dir=str(scratch))
    except ValueError as error:
        names = datasets.get_dataset_config_names(str(location))
        shown = ", ".join(names)
        if chosen is None and len(names) > 1:
            cure = f"choose one: data.sources.{source.name}.config={names[0]}"
            raise source.fault(f"{source.path} has several configurations ({shown}); {cure}", "config") from error
        if chosen is not None and chosen not in names:
            near = "".join(f", but {name!r}" for name in difflib.get_close_matches(chosen, names, 1))
            what = f"{source.path} has no configuration {chosen!r}{near}"
            raise source.fault(f"{what} (found: {shown})", "config") from error
        raise


def _check_whole(source: _Source, location: Path, files: Sequence[str]) -> None:
    """Refuse a data set of the hub of which some of the files of a split are not in the cache."""
    if source.download is None:
        return
    if lost := sorted(str(file.relative_to(location)) for file in location.rglob("*") if not file.exists()):
        raise source.incomplete(f"{lost[0]} is a link to nothing")
    shards = Counter(match.groups() for name in files if (match := _SHARD.fullmatch(name)))
    for (stem, end, total), count in shards.items():
        if count < int(total):
            raise source.incomplete(f"{count} of {int(total)} files {Path(stem).name}*{end}* are there")


def _unread(location: Path, builder: Any) -> list[str]:
    """Return the files that `datasets` leaves out of a directory for their format, because more files have another.

    Those without a split's name where others have one (`more.jsonl` beside `train.jsonl`) are left out by convention.
    A README.md that describes the files may leave out what it likes.
    """
    card = location / "README.md"
    if not location.is_dir() or (card.is_file() and "data_files" in card.read_text(encoding="utf-8", errors="replace")):
        return []
    root = location.resolve()
    read = [name.removesuffix(".gz") for files in builder.config.data_files.values() for name in files]
    formats = [group for group in _FORMATS if any(name.endswith(group) for name in read)]
    names = [str(file.relative_to(root)) for file in root.rglob("*")]
    rows = [name for name in names if name.endswith(ROW_FILES) and "/." not in f"/{name}"]
    return sorted(name for name in rows if not any(name.removesuffix(".gz").endswith(group) for group in formats))


def _records(source: _Source, file: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from records(file)
    except ValueError as error:
        raise source.fault(f"{file} cannot be read ({_line(error)})", "path") from error


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
        records = _without_titles(source.config.title_exclude, records)
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


def _without_titles(pattern: str, records: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    excluded = re.compile(pattern)
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
