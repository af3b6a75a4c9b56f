"""A web server with files in memory, which does what a test wants to go wrong."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Fault: TypeAlias = Callable[["Request"], bool]
"""Answers a request in its own way, or says that it does not (False)."""


class Request(BaseHTTPRequestHandler):
    """A request that is being answered.

    Attributes:
        asked: the bytes of the file that are wanted, or None for all.
    """

    protocol_version = "HTTP/1.1"
    server: Any
    asked: range | None = None

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        files: Files = self.server.files
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.asked = range(int(wanted[1]), int(wanted[2]) + 1) if wanted else None
        with files.lock:
            files.requests[self.command] += 1
            content = files.content.get(self.path)
            if self.asked is not None:
                files.bytes_asked += len(self.asked)
        if files.fault is not None and files.fault(self):
            return
        if content is None:
            self.refuse(404)
            return
        self.give(content, body=body)

    def give(self, content: bytes, *, body: bool = True, cut: int = 0, tag: str = '"{hash}"') -> None:
        """Answer with the bytes that are wanted, the ETag written as ``tag``; the last ``cut`` bytes never come."""
        data = content if self.asked is None else content[self.asked.start : self.asked.stop]
        self.send_response(200 if self.asked is None else 206)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag.format(hash=hashlib.md5(content).hexdigest()))
        if self.asked is not None:
            end = self.asked.start + len(data) - 1
            self.send_header("Content-Range", f"bytes {self.asked.start}-{end}/{len(content)}")
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) - cut])
        self.close_connection = self.close_connection or bool(cut)

    def refuse(self, status: int, **headers: str) -> None:
        """Answer with a status, and nothing else."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Files:
    """What a server has, and what was asked of it.

    Attributes:
        url: where it is.
        content: its files, by path.
        fault: see ``Fault``.
        requests: how many there were, by method.
        bytes_asked: of files, so far.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.content: dict[str, bytes] = {}
        self.fault: Fault | None = None
        self.requests: Counter[str] = Counter()
        self.bytes_asked = 0
        self.lock = threading.Lock()

    def put(self, path: str, content: bytes) -> str:
        """Have a file; its URL."""
        self.content[path] = content
        return self.url + path


@contextmanager
def serving() -> Iterator[Files]:
    """A server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    server.daemon_threads = True
    files = server.files = Files(f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
