"""Send what the stages wrote to an open W&B run, each row and artifact once."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memphis.config import Config
from memphis.jsonl import atomic_write
from memphis.pipeline import KINDS
from memphis.store import Stage, Store
from memphis.tracking import content

MAX_ROWS = 10_000  # of one table
MAX_CHARS = 4_000  # of one cell


class Sender:
    """Sender to an open wandb run. sent: name -> number of its rows (or 1) that W&B has; kept up to date, also in the
    file `memory` unless that is None."""

    def __init__(
        self, run: Any, cfg: Config, info: Mapping[str, Any], store: Store, sent: dict[str, int], memory: Path | None
    ) -> None:
        self.run, self._cfg, self._info, self._store = run, cfg, info, store
        self._sent, self._memory = sent, memory

    def config(self, directory: Path) -> None:
        """Send the resolved configuration of the run, and who started it with which command."""
        files = tuple(directory / name for name in ("config.yaml", "run.json"))
        if "config" not in self._sent:
            self._artifact(content.Files("config", "config", "latest", {}, files))
            self._mark("config", 1)

    def rows(self, stage: Stage, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        sent = self._sent.get(stage.directory, 0)
        for row in rows[max(0, sent - first) :]:
            if values := content.values(stage, row, self._cfg.tracking.every):
                self.run.log(values)
        self._mark(stage.directory, first + len(rows))

    def finished(self, stage: Stage, record: Mapping[str, Any]) -> None:
        if KINDS[stage.kind].leaves == "judged" and f"{stage.directory}/samples" not in self._sent:
            self._samples(stage, record)
        if f"{stage.directory}/artifact" not in self._sent:
            made = content.artifact(stage, record, self._store, merged=self._cfg.slerp.method != "none")
            if made is not None and (made.reference is None or made.reference.exists()):  # weights may be dropped
                self._artifact(made)
                self._mark(f"{stage.directory}/artifact", 1)

    def summary(self, summary: Mapping[str, Any]) -> None:
        self.run.summary.update(content.final_values(summary))

    def _samples(self, stage: Stage, record: Mapping[str, Any]) -> None:
        import wandb

        data, generate = (self._store.root / record["reads"][role] for role in ("data", "samples"))
        rows = content.sample_rows(data, generate, self._store.path(stage), stage.iteration)[:MAX_ROWS]
        cells = [[v[:MAX_CHARS] if isinstance(v, str) else v for v in row.values()] for row in rows]
        table = wandb.Table(columns=list(content.SAMPLE_COLUMNS), data=cells, allow_mixed_types=True)
        self.run.log({"iteration": stage.iteration, "samples": table})
        self._mark(f"{stage.directory}/samples", len(rows))

    def _artifact(self, made: content.Files) -> None:
        import wandb

        metadata = {**made.metadata, "git_sha": self._info["git"]["sha"]}
        artifact = wandb.Artifact(f"{made.name}-{self.run.id}"[:128], made.type, metadata=metadata)
        for file in made.files:
            artifact.add_file(str(file), name=file.name)
        if made.reference is not None:
            artifact.add_reference(made.reference.absolute().as_uri(), name=made.reference.name, checksum=False)
        self.run.log_artifact(artifact, aliases=[made.alias])

    def _mark(self, name: str, count: int) -> None:
        if count > self._sent.get(name, 0):
            self._sent[name] = count
            if self._memory is not None:
                remember(self._memory, self._sent)


def remember(file: Path, sent: Mapping[str, int]) -> None:
    """Write sent.json without forcing it to the disk: after a machine failure some rows are sent twice."""
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(sent))
