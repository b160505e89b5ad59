"""A small server that speaks the hub's protocol, and serves plain files with ranges, for tests."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Asked:
    """A request as it came: method, path, headers in lower case, and the status given."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0


@dataclass
class HubServer:
    """What is served and how badly; tests change the fields between pulls.

    `files` maps "owner/repo/path" to bytes. The hub redirects to `/cdn/...` under another
    host name, as the real one does. `drops` is how many responses stop after `drop_after`
    bytes, `fails` how many get `fail_status`, `pause` seconds lie between pieces of 64 KiB.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    drop_after: int = 0
    drops: int = 0
    fails: int = 0
    fail_status: int = 503
    pause: float = 0.0
    ranges: bool = True
    tag: str | None = None
    weak: bool = False
    no_length: bool = False
    announced: str | None = None
    gated: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def gets(self, part: str) -> list[Asked]:
        """The GET requests whose path contains `part`."""
        return [asked for asked in self.asked if asked.method == "GET" and part in asked.path]

    def start(self) -> ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Asked(self.command, self.path, headers)
        self.hub.asked.append(self.asked)
        path = urlsplit(self.path).path.lstrip("/")
        if "/resolve/" in path:
            self._resolve(path)
            return
        name = path.removeprefix("cdn/").removeprefix("file/")
        if name not in self.hub.files:
            self._head(404, {})
        elif body and self.hub.fails > 0:
            self.hub.fails -= 1
            self._head(self.hub.fail_status, {})
        else:
            self._file(self.hub.files[name], body=body)

    def _resolve(self, path: str) -> None:
        repo, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        name = f"{repo}/{file}"
        if self.hub.gated:
            self._head(self.hub.gated, {"X-Error-Code": "GatedRepo"})
        elif not any(key.startswith(f"{repo}/") for key in self.hub.files):
            self._head(401, {"X-Error-Code": "RepoNotFound"})
        elif revision not in {"main", COMMIT}:
            self._head(404, {"X-Error-Code": "RevisionNotFound"})
        elif name not in self.hub.files:
            self._head(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            data = self.hub.files[name]
            sha256 = self.hub.announced or hashlib.sha256(data).hexdigest()
            self._head(
                302,
                {
                    "Location": f"http://localhost:{self.hub.port}/cdn/{name}",
                    "X-Repo-Commit": COMMIT,
                    "X-Linked-Etag": f'"{sha256}"',
                    "X-Linked-Size": str(len(data)),
                },
            )

    def _file(self, data: bytes, *, body: bool) -> None:
        tag = self.hub.tag or f'"{hashlib.md5(data).hexdigest()}"'
        headers = {} if self.hub.tag == "" else {"ETag": ("W/" if self.hub.weak else "") + tag}
        start = 0
        wanted = self.asked.headers.get("range", "")
        condition = self.asked.headers.get("if-range", tag)
        status = 200
        if self.hub.ranges and wanted and condition == tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self._head(416, {"Content-Range": f"bytes */{len(data)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        rest = data[start:]
        if self.hub.no_length:
            self.close_connection = True
            headers["Connection"] = "close"
        else:
            headers["Content-Length"] = str(len(rest))
        self._head(status, headers, length=False)
        if body:
            self._send(rest)

    def _send(self, rest: bytes) -> None:
        if self.hub.drops > 0:
            self.hub.drops -= 1
            rest = rest[: self.hub.drop_after]
            self.close_connection = True
        try:
            for at in range(0, len(rest), 65536):
                self.wfile.write(rest[at : at + 65536])
                time.sleep(self.hub.pause)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _head(self, status: int, headers: dict[str, str], *, length: bool = True) -> None:
        self.asked.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length:
            self.send_header("Content-Length", "0")
        self.end_headers()
