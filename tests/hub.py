"""A stand-in for Hugging Face: the routes that its client needs to read and to commit files."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class Hub(BaseHTTPRequestHandler):
    """One private repository. The server holds `files`, `token` and `commits`."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        self.path = unquote(self.path)
        resolved = re.fullmatch(r"/someone/iris/resolve/[^/]+/(.+)", self.path)
        if not self.allowed():
            return
        if resolved:
            self.send_file(resolved[1])
        elif re.fullmatch(r"/api/models/someone/iris(/revision/[^/?]+)?(\?.*)?", self.path):
            head = self.server.commits[-1]
            self.send(200, {"id": "someone/iris", "sha": head, "private": True, "siblings": []})
        elif listed := re.fullmatch(r"/api/models/someone/iris/tree/[^/]+/([^?]+)\?.*", self.path):
            folder = f"{listed[1]}/"
            paths = [path for path in self.server.files if path.startswith(folder)]
            self.send(200, [self.describe(path) for path in paths])
        else:
            self.send(404, {"error": "Not found"}, "EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.allowed():
            return
        if "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.send(200, {"files": files})
        elif "/commit/" in self.path:
            self.commit([json.loads(line) for line in body.splitlines()])
        else:
            self.send(404, {"error": "Not found"}, "EntryNotFound")

    def commit(self, lines: list[dict[str, Any]]) -> None:
        """Take all files of a commit at once, if it follows the last one."""
        if lines[0]["value"].get("parentCommit") not in (None, self.server.commits[-1]):
            self.send(412, {"error": "A commit has happened since."})
            return
        files = [line["value"] for line in lines if line["key"] == "file"]
        self.server.files |= {file["path"]: base64.b64decode(file["content"]) for file in files}
        self.server.commits.append(f"{len(self.server.commits):040x}")
        oid = self.server.commits[-1]
        self.send(
            200,
            {
                "success": True,
                "commitOid": oid,
                "commitUrl": f"{self.server.url}/someone/iris/commit/{oid}",
            },
        )

    def allowed(self) -> bool:
        """Whether the token is right; else the response that the Hub gives for a private one."""
        if self.headers.get("Authorization") == f"Bearer {self.server.token}":
            return True
        self.send(401, {"error": "Invalid username or password."}, "RepoNotFound")
        return False

    def describe(self, path: str) -> dict[str, Any]:
        data = self.server.files[path]
        return {"type": "file", "path": path, "size": len(data), "oid": oid_of(data)}

    def send_file(self, path: str) -> None:
        """A file, or the range of it that is asked for."""
        data = self.server.files.get(path)
        if data is None:
            self.send(404, {"error": "Not found"}, "EntryNotFound")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(wanted[1]), int(wanted[2] or len(data) - 1)) if wanted else (0, len(data))
        self.respond(206 if wanted else 200, data[start : end + 1], ETag=f'"{oid_of(data)}"')

    def send(self, status: int, document: Any, code: str = "") -> None:
        headers = {"X-Error-Code": code} if code else {}
        self.respond(status, json.dumps(document).encode(), **headers)

    def respond(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", self.server.commits[-1])
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def oid_of(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextlib.contextmanager
def hub(token: str):
    """The server: its `url`, `files` and `commits`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.token, server.files, server.commits = token, {}, ["0" * 40]
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
