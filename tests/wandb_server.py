"""Local W&B server on the loopback, in plain Python: it answers enough for the SDK and keeps everything the SDK sent.

It implements the operations that runs, artifacts, resume, sync and reports need; any other operation is answered with
null and listed in `unknown`. It can fall silent (`mute`) or die (`kill`) at any time.
"""

import gzip
import json
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef0123456789abcdef01234567"
ENTITY = "nobody"
MAX_BODY = 64 << 20  # bytes of one request
MAX_TOTAL = 512 << 20  # bytes of all requests
MUTE_SECONDS = 300.0  # the longest time that a mute server holds a connection


@dataclass
class ReceivedRun:
    """Data received of one run. config: as given to wandb.init. files: by name, tables included."""

    id: str
    name: str
    project: str
    entity: str
    attributes: dict[str, Any] = field(default_factory=dict)  # groupName, jobType, tags, displayName, commit, …
    raw_config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)  # streamed files: wandb-history.jsonl and others
    files: dict[str, bytes] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        return {key: entry["value"] for key, entry in self.raw_config.items() if key != "_wandb"}

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", [])]

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.lines.get("wandb-summary.json", [])
        return json.loads(lines[-1]) if lines else {}


@dataclass
class ReceivedArtifact:
    id: str
    run: str  # name of the run that made it
    name: str
    type: str
    digest: str
    aliases: list[str]
    metadata: dict[str, Any]
    committed: bool = False
    manifest: dict[str, Any] = field(default_factory=dict)  # path -> entry, with `ref` for references
    files: dict[str, bytes] = field(default_factory=dict)


class WandbServer:
    """Server for `with WandbServer() as server`: it listens at `server.url` until the block ends.

    runs: by run id. artifacts, views: in order of creation, by id. raw: path, headers (without the key) and body of
    every request, so that tests can search them for secrets.
    """

    def __init__(self) -> None:
        self.runs: dict[str, ReceivedRun] = {}
        self.artifacts: dict[str, ReceivedArtifact] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.view_saves = 0
        self.projects: list[str] = []
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self.raw: list[bytes] = []
        self._lock = threading.RLock()
        self._mute, self._released = threading.Event(), threading.Event()
        self._uploads: list[Callable[[bytes], None]] = []
        self._connections: set[socket.socket] = set()
        self._server = _Http(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> "WandbServer":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables under which the SDK talks to this server and to nothing else."""
        quick = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.3"}  # seconds; 15 by default
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false", **quick}

    def mute(self) -> None:
        """Accept connections and requests from now on, but answer none."""
        self._mute.set()

    def kill(self) -> None:
        """Close the port and all connections."""
        self._released.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # closed by the other side
                continue

    def receive(self, method: str, path: str, headers: str, body: bytes) -> dict[str, Any] | None:
        """Answer one request; None: not found."""
        if self._mute.is_set():
            self._released.wait(MUTE_SECONDS)
            return None
        with self._lock:
            if sum(map(len, self.raw)) + len(body) > MAX_TOTAL:
                raise RuntimeError("more was sent than any test has reason to send")
            self.raw.append(f"{method} {path}\n{headers}\n".encode() + body)
            words = path.strip("/").split("/")
            if method == "POST" and words == ["graphql"]:
                asked = json.loads(body)
                return self._graphql(asked["query"], asked.get("variables") or {})
            if method == "POST" and words[0] == "files" and words[-1] == "file_stream":
                return self._stream(words[3], json.loads(body))
            if method == "PUT" and words[0] == "upload":
                self._uploads[int(words[1])](body)
                return {}
            return None

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        name = query.split("{")[0].split("(")[0].split()[-1]
        self.operations.append(name)
        answer = getattr(self, f"_answer_{name}", None)
        if answer is None:
            self.unknown.append(name)
            return {"data": None, "errors": [{"message": f"no such operation: {name}"}]}
        return {"data": answer(variables)}

    def _stream(self, run: str, sent: dict[str, Any]) -> dict[str, Any]:
        received = self.runs[run]
        for name, chunk in (sent.get("files") or {}).items():
            lines = received.lines.setdefault(name, [])
            lines[chunk["offset"] : chunk["offset"] + len(chunk["content"])] = chunk["content"]
        if sent.get("complete"):
            received.exit_codes.append(sent["exitcode"])
        return {"limits": {}}

    def _upload_url(self, store: Callable[[bytes], None]) -> str:
        self._uploads.append(store)
        return f"{self.url}/upload/{len(self._uploads) - 1}"

    def _answer_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        user = {"id": "VXNlcjox", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "name": ENTITY}
        return {"viewer": {**user, "admin": False, "teams": {"edges": []}, "apiKeys": {"edges": []}}}

    _answer_GetViewer = _answer_GetDefaultEntity = _answer_Viewer

    def _answer_ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _answer_OrganizationCoreWeaveOrganizationID(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": None}

    def _answer_XXHashDigestsEnabled(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"xxhashDigestsEnabled": False}}

    def _answer_FetchArtifactDigestAlgorithm(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    _answer_ArtifactType = _answer_FetchArtifactDigestAlgorithm

    def _answer_RunResumeStatus(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(asked["name"])
        project, entity = asked["project"], asked.get("entity") or ENTITY
        model = {"id": "UHJvamVjdDox", "name": project, "entity": {"id": "RW50aXR5OjE=", "name": entity}}
        if run is None:
            return {"model": {**model, "bucket": None}}
        lines = {name: run.lines.get(f"wandb-{name}.jsonl", []) for name in ("history", "events")}
        bucket = {
            "id": run.id,
            "name": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.attributes.get("displayName"),
            "logLineCount": len(run.lines.get("output.log", [])),
            "config": json.dumps(run.raw_config),
            "tags": run.attributes.get("tags") or [],
            "notes": None,
            "wandbConfig": json.dumps({"t": run.raw_config.get("_wandb", {}).get("value", {}).get("t", {})}),
            **{f"{name}LineCount": len(found) for name, found in lines.items()},
            **{f"{name}Tail": json.dumps(found[-1:]) for name, found in lines.items()},
        }
        return {"model": {**model, "bucket": bucket}}

    def _answer_UpsertBucket(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked.get("name") or next(run.name for run in self.runs.values() if run.id == asked["id"])
        new = name not in self.runs
        project, entity = asked.get("project") or "uncategorized", asked.get("entity") or ENTITY
        run = self.runs.setdefault(name, ReceivedRun(f"UnVuOjE{len(self.runs)}", name, project, entity))
        if run.project not in self.projects:
            self.projects.append(run.project)
        run.raw_config |= json.loads(asked.get("config") or "{}")
        run.attributes |= {key: value for key, value in asked.items() if value is not None and key != "config"}
        bucket = {
            "id": run.id,
            "name": name,
            "displayName": run.attributes.get("displayName") or name,
            "description": None,
            "config": json.dumps(run.raw_config),
            "sweepName": None,
            "project": {
                "id": "UHJvamVjdDox",
                "name": run.project,
                "entity": {"id": "RW50aXR5OjE=", "name": run.entity},
            },
            "historyLineCount": len(run.lines.get("wandb-history.jsonl", [])),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def _answer_CreateRunFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[asked["run"]]
        files = [
            {"name": name, "uploadUrl": self._upload_url(lambda body, name=name: run.files.update({name: body}))}
            for name in asked["files"]
        ]
        return {"createRunFiles": {"runID": run.id, "uploadHeaders": [], "files": files}}

    def _answer_MarkRunFilesUploaded(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"markRunFilesUploaded": {"success": True}}

    def _answer_CreateArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = asked["input"]
        names = wanted.get("artifactCollectionNames") or [wanted["artifactCollectionName"]]
        same = [
            a for a in self.artifacts.values() if a.name == names[0] and a.digest == wanted["digest"] and a.committed
        ]
        if same:  # the real server keeps one version per content
            artifact = same[0]
        else:
            artifact = ReceivedArtifact(
                id=f"QXJ0aWZhY3Q6{len(self.artifacts)}",
                run=wanted["runName"],
                name=names[0],
                type=wanted["artifactTypeName"],
                digest=wanted["digest"],
                aliases=sorted(alias["alias"] for alias in wanted.get("aliases") or []),
                metadata=json.loads(wanted.get("metadata") or "{}"),
            )
            self.artifacts[artifact.id] = artifact
        state = "COMMITTED" if artifact.committed else "PENDING"
        found = {"id": artifact.id, "state": state, "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": found}}

    def _answer_CreateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[asked["artifactID"]]
        file = None
        if asked.get("includeUpload"):
            url = self._upload_url(lambda body: artifact.manifest.update(json.loads(body)["contents"]))
            file = {"id": "RmlsZTox", "uploadUrl": url, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"TWFuaWZlc3Q6{artifact.id}", "file": file}}}

    def _answer_UpdateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[asked["artifactManifestID"].removeprefix("TWFuaWZlc3Q6")]
        file = None
        if asked.get("includeUpload"):
            url = self._upload_url(lambda body: artifact.manifest.update(json.loads(body)["contents"]))
            file = {"id": "RmlsZTox", "uploadUrl": url, "uploadHeaders": []}
        return {"updateArtifactManifest": {"artifactManifest": {"id": asked["artifactManifestID"], "file": file}}}

    def _answer_CreateArtifactFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for wanted in asked["input"]["artifactFiles"]:
            artifact, name = self.artifacts[wanted["artifactID"]], wanted["name"]
            url = self._upload_url(lambda body, files=artifact.files, name=name: files.update({name: body}))
            node = {"storagePath": name, "uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}
            edges.append({"node": {**node, "artifact": {"id": artifact.id}}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _answer_CommitArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[asked["artifactID"]]
        artifact.committed = True
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _answer_GetProjects(self, _: dict[str, Any]) -> dict[str, Any]:
        times = {"createdAt": "2026-01-01T00:00:00", "isBenchmark": False, "user": None}
        edges = [
            {"node": {"__typename": "Project", "id": f"UHJvamVjdDox{n}", "name": name, "entityName": ENTITY, **times}}
            for n, name in enumerate(self.projects)
        ]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": [{**edge, "cursor": "x"} for edge in edges]}}

    def _answer_CreateProject(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["input"]["name"]
        self.projects.append(name)
        made = {"id": "UHJvamVjdDox", "name": name, "entityName": ENTITY, "description": None, "access": "PRIVATE"}
        return {"result": {"project": {**made, "views": None}, "model": {**made, "views": None}, "inserted": True}}

    def _answer_ProjectInternalId(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "UHJvamVjdDox", "internalId": f"internal-{asked['projectName']}"}}

    def _answer_upsertView(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = asked.get("id") in self.views
        view = self.views[asked["id"]] if known else {"id": f"Vmlldzo{len(self.views) + 1}"}
        given = ("type", "name", "displayName", "description", "spec")
        project = {"id": "UHJvamVjdDox", "name": asked["projectName"], "entityName": asked["entityName"]}
        view |= {key: asked.get(key) for key in given} | {"project": project, "updatedAt": "2026-01-01T00:00:00"}
        self.views[view["id"]] = view
        self.view_saves += 1
        return {"upsertView": {"view": view, "inserted": not known}}


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: WandbServer

    def handle_error(self, request: object, address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that did not wait for a mute server
            super().handle_error(request, address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0  # seconds until a silent connection is closed
    server: _Http

    def setup(self) -> None:
        super().setup()
        self.server.owner._connections.add(self.connection)

    def finish(self) -> None:
        self.server.owner._connections.discard(self.connection)
        super().finish()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(length)
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        headers = "\n".join(f"{key}: {value}" for key, value in self.headers.items() if key.lower() != "authorization")
        answer = self.server.owner.receive(self.command, self.path, headers, body)
        text = json.dumps(answer or {}).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_PUT = do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Print nothing: requests are kept in `raw`."""
