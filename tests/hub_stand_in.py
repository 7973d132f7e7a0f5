"""A hub on this machine, in memory: what its clients ask of the real one to push and load a model, and a data set."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote

COMMIT = "c0ffee" + 34 * "0"


class Hub(ThreadingHTTPServer):
    """`files` maps a repository to its files; `asked` lists the method, the path and the headers of what was asked.

    A data set's repository is "datasets/OWNER/NAME", and at an older commit "datasets/OWNER/NAME@COMMIT".
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked: list[tuple[str, str, Message]] = []
        self.cut: dict[str, int] = {}  # file → bytes after which its first download breaks off
        self.nonsense: tuple[int, bytes] | None = None  # what it answers to everything
        self.sent: list[tuple[str, int, int]] = []  # file, from where, how many bytes

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append((self.command, self.path, self.headers))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if hub.nonsense:
            return self.send(*hub.nonsense)
        if path.startswith(("/datasets/", "/api/datasets/")):
            return self.answer_of_data(path, body)
        if self.command == "POST":
            return self.send(200, json.dumps(self.posted(path, body)).encode())
        owner, name, *rest = path.removeprefix("/api/models").strip("/").split("/")
        files = hub.files.get(f"{owner}/{name}")
        if files is None:
            return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if path.startswith("/api/models"):
            if rest[:1] == ["tree"] and len(rest) > 2:  # a folder below the root: there is none
                return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            if rest[:1] == ["tree"]:
                tree = [{"type": "file", "path": f, "size": len(of), "oid": COMMIT} for f, of in files.items()]
                return self.send(200, json.dumps(tree).encode())
            listed = [{"rfilename": file} for file in files]
            return self.send(200, json.dumps({"id": f"{owner}/{name}", "sha": COMMIT, "siblings": listed}).encode())
        file = "/".join(rest[2:])  # after resolve/REVISION
        if file not in files:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        self.send_file(file, files[file])

    def answer_of_data(self, path: str, body: bytes) -> None:
        is_api = path.startswith("/api")
        owner, name, *rest = unquote(path).removeprefix("/api").removeprefix("/datasets/").split("/")
        kind, revision, inside = rest[0] if rest else "", "/".join(rest[1:2]), "/".join(rest[2:])
        repo = f"datasets/{owner}/{name}"
        is_older = f"{repo}@{revision}" in self.server.files
        files = self.server.files.get(f"{repo}@{revision}" if is_older else repo)
        if files is None:
            return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        commit = revision if is_older else COMMIT
        if revision not in ("", "main", commit):
            return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if not is_api:
            if inside in files:
                return self.send_file(inside, files[inside], commit)
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        if kind == "tree":
            found: list | dict = [entry for entry in entries(files) if entry["path"].rpartition("/")[0] == inside]
        elif kind == "paths-info":
            asked = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
            found = [entry for entry in entries(files) if entry["path"] in asked]
        else:
            listed = [{"rfilename": file} for file in files]
            found = {"id": f"{owner}/{name}", "sha": commit, "siblings": listed}
        self.send(200, json.dumps(found).encode())

    def posted(self, path: str, body: bytes) -> dict:
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.server.files.setdefault(name, {})
            return {"url": f"{self.server.address}/{name}", "id": name}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        repo = "/".join(path.removeprefix("/api/models/").split("/")[:2])
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        assert "/commit/" in path, path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.server.files[repo][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return {"commitOid": COMMIT, "commitUrl": f"{self.server.address}/{repo}/commit/{COMMIT}"}

    def send_file(self, file: str, content: bytes, commit: str = COMMIT) -> None:
        digest = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        sent = content[start:]
        if self.command == "GET":
            sent = sent[: self.server.cut.pop(file, len(sent))]
            self.server.sent.append((file, start, len(sent)))
        self.send(206 if start else 200, sent, headers, len(content) - start)
        if len(sent) < len(content) - start:
            self.close_connection = True

    def send(self, status: int, content: bytes, headers: dict | None = None, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def entries(files: dict[str, bytes]) -> list[dict]:
    """A repository's files and folders, as the hub lists them."""
    folders = {str(folder) for file in files for folder in PurePosixPath(file).parents if str(folder) != "."}
    listed = [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in sorted(folders)]
    for file, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        listed.append({"type": "file", "path": file, "oid": digest[:40], "size": len(content)})
    return listed


@contextmanager
def stand_in():
    """A hub that answers until the block ends."""
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()
