"""A hub on loopback: what huggingface_hub calls to make repositories, commit, and download, with the hub's own errors.

Large files are stored by their SHA-256 and served from another address, as the hub does it.
"""

import base64
import hashlib
import json
import os
import re
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

OWNER, READER = "hf_owner_secret", "hf_reader_secret"  # tokens: one may write, one may only read
LARGE = 2000  # bytes from which a file is stored by its SHA-256
VERDICTS = {
    "RepoNotFound": 404,
    "RevisionNotFound": 404,
    "EntryNotFound": 404,
    "GatedRepo": 403,
}


class RefusedError(Exception):
    def __init__(self, code, status=None, **headers):
        super().__init__(code)
        self.code, self.status, self.headers = code, status or VERDICTS[code], headers


@dataclass
class Repo:
    """Commits are dictionaries of files; a branch is the hash of a commit."""

    private: bool = False
    gated: bool = False
    branches: dict = field(default_factory=dict)
    commits: dict = field(default_factory=dict)
    messages: list = field(default_factory=list)

    def commit(self, branch, files, message="by hand"):
        sha = hashlib.sha1(f"{branch}{len(self.commits)}".encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        self.messages.append(message)
        return sha

    def find(self, revision):
        sha = self.branches.get(revision, revision)
        if sha not in self.commits:
            raise RefusedError("RevisionNotFound")
        return sha, self.commits[sha]


def environment(hub, home, token=OWNER):
    """The variables of a process that uses the hub; its transport by chunks (Xet) is not served here."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    return {**os.environ, **variables}


def oid(content):
    """SHA-256 of a large file, git's hash of a small one."""
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(ThreadingHTTPServer):
    """The server; `cut` breaks so many downloads (`cuts`) of large files after so many bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos, self.large, self.requests, self.ranges, self.tokens = {}, {}, [], [], set()
        self.cut, self.cuts, self.down, self.reject = None, 0, False, None

    def handle_error(self, request, client_address):
        pass

    def add(self, name, files, **options):
        """A repository with one commit; its hash."""
        repo = self.repos[name] = Repo(**options)
        self.large |= {oid(content): content for content in files.values() if len(content) >= LARGE}
        return repo.commit("main", files)


@contextmanager
def serve():
    """A hub that is up."""
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield hub
        hub.shutdown()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that is up, an empty cache, and nobody logged in; huggingface_hub reads some of its variables on import."""
    from huggingface_hub import constants

    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
        for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "nobody"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
        yield server


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def handle_any(self):
        hub, url = self.server, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else self.chunks()
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        hub.requests.append(f"{self.command} {self.path}")
        hub.tokens.add(self.token)
        try:
            if hub.down:
                raise RefusedError("down", 503)
            for method, pattern, action in ROUTES:
                found = re.fullmatch(pattern, url.path)
                if found and self.command in method.split():
                    return action(self, *map(unquote, found.groups()))
            raise RefusedError(f"no such address: {self.command} {self.path}", 400)
        except RefusedError as refusal:
            self.answer({"error": refusal.code}, refusal.status, {"X-Error-Code": refusal.code, **refusal.headers})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def chunks(self):
        body = b""
        while self.headers.get("Transfer-Encoding") == "chunked":
            size = int(self.rfile.readline(), 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                break
        return body

    def answer(self, document, status=200, headers=()):
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **dict(headers)}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def repo(self, name, *, write=False):
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and self.token not in (OWNER, READER)):
            raise RefusedError("RepoNotFound", 404 if self.token else 401)
        if repo.gated and self.token != OWNER:
            raise RefusedError("GatedRepo")
        if write and self.token != OWNER:
            raise RefusedError("Forbidden", 403 if self.token else 401)
        return repo

    def create(self):
        given = json.loads(self.body)
        if self.token != OWNER:
            raise RefusedError("Forbidden", 403 if self.token else 401)
        name = f"{given['organization']}/{given['name']}"
        there = name in self.server.repos
        if not there:
            private = given.get("private") or given.get("visibility") == "private"
            self.server.repos[name] = Repo(private=private)
            self.server.repos[name].commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.answer({"url": f"{self.server.url}/{name}"}, 409 if there else 200)

    def validate(self):
        content = json.loads(self.body)["content"]
        if self.server.reject and self.server.reject in content:
            self.answer({"errors": [{"message": '"license" must be one of [apache-2.0, mit, ...]'}]}, 400)
        else:
            self.answer({"errors": [], "warnings": []})

    def branch(self, name, branch):
        repo = self.repo(name, write=True)
        if branch in repo.branches:
            raise RefusedError("Conflict", 409)
        repo.branches[branch] = repo.branches["main"]
        self.answer({})

    def preupload(self, name, revision):
        _, files = self.repo(name, write=True).find(revision)
        answers = []
        for each in json.loads(self.body)["files"]:
            mode = "lfs" if each["size"] >= LARGE else "regular"
            there = oid(files[each["path"]]) if each["path"] in files else None
            answers.append({"path": each["path"], "uploadMode": mode, "shouldIgnore": False, "oid": there})
        self.answer({"files": answers})

    def batch(self, name):
        self.repo(name, write=True)
        objects = []
        for each in json.loads(self.body)["objects"]:
            upload = {"href": f"{self.server.url}/upload/{each['oid']}", "header": {}}
            missing = each["oid"] not in self.server.large
            objects.append({**each, **({"actions": {"upload": upload}} if missing else {})})
        self.answer({"transfer": "basic", "objects": objects})

    def upload(self, name):
        if hashlib.sha256(self.body).hexdigest() != name:
            raise RefusedError("the bytes are others", 400)
        self.server.large[name] = self.body
        self.answer({})

    def commit(self, name, branch):
        repo = self.repo(name, write=True)
        _, before = repo.find(branch)
        files, message = dict(before), ""
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            match line["key"]:
                case "header":
                    message = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.server.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        sha = repo.commit(branch, files, message)
        self.answer({"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha})

    def tree(self, name, revision):
        _, files = self.repo(name).find(revision)
        self.answer([{"type": "file", "path": p, "size": len(c), "oid": oid(c)} for p, c in files.items()])

    def info(self, name, revision="main"):
        sha, files = self.repo(name).find(revision)
        siblings = [{"rfilename": path} for path in files]
        self.answer({"id": name, "modelId": name, "sha": sha, "siblings": siblings, "tags": [], "private": False})

    def resolve(self, name, revision, path):
        sha, files = self.repo(name).find(revision)
        if path not in files:
            raise RefusedError("EntryNotFound", **{"X-Repo-Commit": sha})
        content = files[path]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{oid(content)}"'}
        if len(content) < LARGE:
            return self.send(content, headers)
        linked = {"X-Linked-Etag": f'"{oid(content)}"', "X-Linked-Size": str(len(content))}
        place = f"http://localhost:{self.server.server_port}/cdn/{oid(content)}?signed=1"  # another host to the client
        return self.answer({}, 302, {**headers, **linked, "Location": place})

    def cdn(self, name):
        if self.token or parse_qs(urlsplit(self.path).query) != {"signed": ["1"]}:
            raise RefusedError("a token for the hub was sent elsewhere", 400)
        self.send(self.server.large[name], {"ETag": f'"{name}"'})

    def send(self, content, headers):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        begin = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content) - begin))
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        hub = self.server
        if len(content) >= LARGE:
            hub.ranges.append(begin)
        if hub.cuts and len(content) >= LARGE:
            hub.cuts -= 1
            self.wfile.write(content[begin : begin + hub.cut])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(content[begin:])


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/models/{NAME}/branch/(.+)", Handler.branch),
    ("POST", f"/api/models/{NAME}/preupload/(.+)", Handler.preupload),
    ("POST", f"/{NAME}.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/upload/(.+)", Handler.upload),
    ("POST", f"/api/models/{NAME}/commit/(.+)", Handler.commit),
    ("GET", f"/api/models/{NAME}/tree/([^/]+)", Handler.tree),
    ("GET", f"/api/models/{NAME}/revision/(.+)", Handler.info),
    ("GET", f"/api/models/{NAME}", Handler.info),
    ("GET HEAD", "/cdn/(.+)", Handler.cdn),
    ("GET HEAD", f"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
)
