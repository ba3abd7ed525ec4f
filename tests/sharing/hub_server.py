"""A hub on this machine: the endpoints by which huggingface_hub sends and fetches a repository.

Repositories are kept in memory. Files of 10 bytes and more whose name ends with .safetensors go the
way of large ones (LFS, one PUT each); all others come inside the commit.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_the_tests"


@dataclass
class Repository:
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        content = repr((sorted(files.items()), len(self.commits))).encode()
        oid = hashlib.sha1(content).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        return oid

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches.get(revision, revision)]


class HubServer:
    """url, repositories by name, and every request as "METHOD path"."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_POST = do_PUT = do_GET

    def _route(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else self._read_chunks()
        parts = urlsplit(self.path)
        path, self.query = unquote(parts.path), parse_qs(parts.query)
        self.hub.requests.append(f"{self.command} {path}")
        for pattern, answer in _ROUTES:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                answer(self, *found.groups())
                return
        self._send(404, {"error": f"no route for {self.command} {path}"})

    def _read_chunks(self) -> bytes:
        content = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return content

    def _send(self, status: int, content, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _missing(self, kind: str) -> None:
        status = 403 if kind == "GatedRepo" else 404
        self._send(status, {"error": kind}, {"X-Error-Code": kind, "X-Error-Message": kind})

    def _may_write(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._send(401, {"error": "Invalid credentials"})
        return False

    def _find(self, name: str, revision: str) -> tuple[Repository, str] | None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._missing("GatedRepo" if name.endswith("/gated") else "RepoNotFound")
            return None
        oid = repository.branches.get(revision, revision)
        if oid not in repository.commits and repository.commits:
            self._missing("RevisionNotFound")
            return None
        return repository, oid

    def whoami(self) -> None:
        if self._may_write():
            self._send(200, {"name": "tester", "type": "user", "orgs": []})

    def create(self) -> None:
        if not self._may_write():
            return
        values = json.loads(self.body)
        owner = values.get("organization") or "tester"
        name = f"{owner}/{values['name']}"
        private = values.get("private") or values.get("visibility") == "private"
        self.hub.repositories[name] = Repository(private=bool(private))
        self.hub.repositories[name].commit("main", {".gitattributes": b"* text"})
        self._send(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def branch(self, name: str, branch: str) -> None:
        repository = self.hub.repositories[name]
        if branch in repository.branches:
            self._send(409, {"error": "exists"})
            return
        repository.branches[branch] = repository.branches.get("main", "")
        self._send(200, {})

    def validate(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._send(200, {"files": files})

    def batch(self, name: str) -> None:
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.hub.url}/large/{item['oid']}"}},
            }
            for item in json.loads(self.body)["objects"]
        ]
        answer = {"transfer": "basic", "objects": objects}
        self._send(200, answer, {"Content-Type": "application/vnd.git-lfs+json"})

    def put_large(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.large[oid] = self.body
        self._send(200, {})

    def commit(self, name: str, branch: str) -> None:
        if not self._may_write():
            return
        repository = self.hub.repositories[name]
        earlier = repository.branches.get(branch) or repository.branches.get("main")
        files = dict(repository.commits.get(earlier, {}))
        for line in self.body.decode().splitlines():
            record = json.loads(line)
            value = record["value"]
            if record["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif record["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif record["key"] == "deletedFile":
                del files[value["path"]]
        is_proposal = "create_pr" in self.query
        oid = repository.commit("refs/pr/1" if is_proposal else branch, files)
        url = f"{self.hub.url}/{name}"
        answer = {"commitUrl": f"{url}/commit/{oid}", "commitOid": oid}
        if is_proposal:
            answer["pullRequestUrl"] = f"{url}/discussions/1"
        self._send(200, answer)

    def info(self, name: str, revision: str | None = None) -> None:
        if found := self._find(name, revision or "main"):
            repository, oid = found
            names = sorted(repository.commits.get(oid, {}))
            answer = {"id": name, "private": repository.private, "tags": []}
            answer["siblings"] = [{"rfilename": file} for file in names]
            self._send(200, {**answer, "sha": oid} if repository.commits else answer)

    def tree(self, name: str, revision: str) -> None:
        if found := self._find(name, revision):
            repository, oid = found
            files = repository.commits.get(oid, {})
            rows = [
                {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
                for path, content in files.items()
            ]
            self._send(200, rows)

    def resolve(self, name: str, revision: str, path: str) -> None:
        if not (found := self._find(name, revision)):
            return
        repository, oid = found
        if path not in repository.commits[oid]:
            self._missing("EntryNotFound")
            return
        content = repository.commits[oid][path]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        self._send(200, content, headers)


_NAME = "([^/]+/[^/]+)"
_ROUTES = (
    (r"GET /api/whoami-v2", _Handler.whoami),
    (r"POST /api/repos/create", _Handler.create),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST /api/models/{_NAME}/branch/(.+)", _Handler.branch),
    (rf"POST /api/models/{_NAME}/preupload/(.+)", _Handler.preupload),
    (rf"POST /api/models/{_NAME}/commit/(.+)", _Handler.commit),
    (rf"POST /{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /large/(\w+)", _Handler.put_large),
    (rf"GET /api/models/{_NAME}", _Handler.info),
    (rf"GET /api/models/{_NAME}/revision/(.+)", _Handler.info),
    (rf"GET /api/models/{_NAME}/tree/(.+?)/?", _Handler.tree),
    (rf"(?:GET|HEAD) /{_NAME}/resolve/([^/]+)/(.+)", _Handler.resolve),
)
