"""A page on this machine to drop images on, which a run answers as predict.py does.

The server is that of Python's standard library: one page for one person needs no more, and no package can be missing.
What it must not do stands here in few lines. Images are answered from memory, one after the other, and nothing is
written. Only this machine can reach it unless another --host is named. Pages of other sites cannot use it by way of the
browser: what they send carries their origin, or a name in Host that is not this machine's (DNS rebinding), and is
refused. What comes back is JSON; the page puts it in as text, and its policy runs no script but its own.
"""  # noqa: E501

import contextlib
import errno
import html
import ipaddress
import json
import os
import socket
import socketserver
import sys
import threading
import traceback
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd

from data.contents import FileContent
from evaluation.prediction import PredictionOptions, decide, make_predictor
from evaluation.predictor import Predictor, as_csv
from evaluation.remarks import introduction
from files.text import printable, shortened
from hierarchies.tree import parse_path

LARGEST = 64 * 2**20  # bytes of an image file
AT_ONCE = 4  # images in memory
SILENCE = 30  # seconds without a byte after which a connection ends
LONGEST_NAME = 300  # characters of a file's name
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_FILES = {"/page.css": ("served.css", "text/css"), "/page.js": ("served.js", "text/javascript")}


def serve(asked: PredictionOptions, host: str, port: int) -> None:
    """Answers images that are dropped on a page, until Ctrl-C.

    Args:
        asked: Of the run and its answers; images and files to write are not read.
        host: Address or name to listen at.
        port: 0 takes a free one.

    Raises: ValueError, OSError, RuntimeError: If the run cannot answer so, or not be reached there.
    """
    source, decision = decide(asked)
    predictor = make_predictor(asked, source, decision)
    lines = introduction(source, decision, None, asked.target)
    for line in lines:
        print(line)
    with make_server(Answering(predictor), lines, host, port) as server:
        print(f"open {server.url} in a browser and drop images on the page; Ctrl-C ends")
        if not server.loopback:
            print(
                f"note: --host {host}: everybody who reaches this machine there, by its address or"
                f" as http://{socket.gethostname()}:{server.server_port}/, can have images"
                " answered; there is no password"
            )
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)
        print("\nended")


class Answering:
    """Answers one image file at a time, whoever asks.

    Args:
        predictor: The run at work.
    """

    def __init__(self, predictor: Predictor):
        self._predictor, self._lock = predictor, threading.Lock()

    def __call__(self, name: str, content: bytes) -> dict[str, object]:
        """What the page shows of a file: see `shown`; and csv, the titles and the line of the table
        that `predict.py` writes of it.
        """
        with self._lock:
            table = self._predictor.table([FileContent(name, content)])
        titles, row = as_csv(table, titles=True).split("\n", 1)  # no title holds a line break
        return {**shown(table), "csv": [f"{titles}\n", row]}


def shown(table: pd.DataFrame) -> dict[str, object]:
    """A row of the table of answers (S = 1) for the page, all names harmless, all numbers finite
    or null.

    Keys: file; error, null where the image is read, else all that is there; answer (path of taxa,
    empty for the root, whose name is in root, else null) and answer_probability; classes (the most
    probable ones, each with path and probability); levels (probabilities down the path of the
    first); novelty (novelty_p); cover (paths; null where it is not asked for).
    """
    row = table.iloc[0]
    name = printable(row["file"])
    if isinstance(row["error"], str):
        return {"file": name, "error": printable(row["error"])}
    titles = [title for title in table.columns if title == "class" or title[:6] == "class_"]
    ranks = ["", *(title[5:] for title in titles if title[6:].isdecimal())]
    levels = [title for title in table.columns if title.startswith("probability_level_")]
    path = [] if row["decision_depth"] == 0 else _keys(row["decision"])
    cover = None
    if "cover" in table.columns:
        cover = printable(row["cover"])
    return {
        "file": name,
        "error": None,
        "answer": path,
        "root": None if path else printable(row["decision"]),
        "answer_probability": _number(row["decision_probability"]),
        "classes": [
            {"path": _keys(row[f"class{rank}"]), "probability": _number(row[f"probability{rank}"])}
            for rank in ranks
        ],
        "levels": [_number(row[title]) for title in levels if not np.isnan(row[title])],
        "novelty": _number(row.get("novelty_p", np.nan)),
        "cover": cover,
    }


def _keys(path: str) -> list[str]:
    return [printable(key) for key in parse_path(path)]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def page(lines: Sequence[str]) -> bytes:
    """The page, with what is to be known of the run."""
    text = Path(__file__).with_name("served.html").read_text("utf-8")
    lead = "\n".join(
        html.escape(printable(line)) for several in lines for line in several.split("\n")
    )
    text = text.replace("{lead}", lead).replace("{largest}", str(LARGEST))
    return text.encode("utf-8", "replace")


class Server(ThreadingHTTPServer):
    """See `make_server`.

    Attributes:
        names: What this machine is called in addresses of the page, beside numbers.
        loopback: Whether nobody else can reach it.
        url: Of the page.
    """

    daemon_threads = True
    request_queue_size = 64  # of 5, the default, those that come together wait for seconds

    def __init__(self, address: tuple, family: int, answers: Answering, content: bytes):
        self.address_family = family
        self.allow_reuse_address = os.name == "posix"  # Windows would share it with another server
        self.answers, self.content = answers, content
        self.uploads = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(address, _Handler)
        number, port = self.server_address[:2]
        self.loopback = ipaddress.ip_address(number).is_loopback
        self.names = {"localhost"}
        if not self.loopback:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        shown = f"[{number}]" if ":" in number else number
        if ipaddress.ip_address(number).is_unspecified:  # all addresses of this machine
            shown = "localhost"
        self.url = f"http://{shown}:{port}/"

    def server_bind(self) -> None:
        """Without asking the network what the machine is called, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address) -> None:
        """A connection that ends early is not worth a word; all else is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def make_server(answers: Answering, lines: Sequence[str], host: str, port: int) -> Server:
    """A server that listens, and does nothing else yet.

    Args:
        answers: File name and content to what the page shows.
        lines: What is to be known of the run.
        host, port: See `serve`.

    Raises: ValueError: If it is impossible to listen there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        server = Server(address, family, answers, page(lines))
    except OSError as error:
        way = "name an address of this machine, or leave out --host"
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            way = "name another --port, or --port 0 for any that is free"
        raise ValueError(
            f"--host {host} --port {port}: it is impossible to listen there"
            f" ({error.strerror or error}); {way}"
        ) from None
    if not server.loopback:
        server.names.add(host.lower())
    return server


class _Handler(BaseHTTPRequestHandler):
    """Answers what a browser asks of a `Server`."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "predict", ""
    timeout = SILENCE
    server: Server

    def do_GET(self) -> None:
        """The page and its parts."""
        if not self._from_here():
            return
        path = urlsplit(self.path).path
        if path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.content)
        elif path in _FILES:
            name, kind = _FILES[path]
            content = Path(__file__).with_name(name).read_bytes()
            self._send(HTTPStatus.OK, f"{kind}; charset=utf-8", content)
        elif path == "/favicon.ico":
            self._send(HTTPStatus.NO_CONTENT, "image/x-icon", b"")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        """An image file as body, and its name in X-File-Name, as `encodeURIComponent` writes it."""
        if not self._from_here():
            return
        if urlsplit(self.path).path != "/answer":
            return self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        name = self.headers.get("X-File-Name")
        if name is None:
            return self._refuse(HTTPStatus.BAD_REQUEST, "the header X-File-Name is missing")
        name = shortened(unquote(name), LONGEST_NAME)
        lengths = self.headers.get_all("Content-Length") or []
        length = lengths[0] if len(lengths) == 1 else ""
        if not (length.isascii() and length.isdecimal()) or "Transfer-Encoding" in self.headers:
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "the length of the file is missing")
        if int(length) > LARGEST:
            return self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the file is larger than {LARGEST // 2**20} MiB; answer it by predict.py",
            )
        with self.server.uploads:
            content = self.rfile.read(int(length))
            if len(content) < int(length):
                return self._refuse(HTTPStatus.BAD_REQUEST, "the file ended early")
            try:
                found = self.server.answers(name, content)
            except (ValueError, RuntimeError, MemoryError) as error:
                traceback.print_exc()
                what = str(error) or type(error).__name__
                return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, printable(what))
        body = json.dumps(found, allow_nan=False).encode("ascii")
        self._send(HTTPStatus.OK, "application/json", body)

    def _from_here(self) -> bool:
        """Whether it is the page itself that asks, by the name of this machine; refuses others."""
        hosts = self.headers.get_all("Host") or []
        name = _name_in(hosts[0]) if len(hosts) == 1 else None
        if name is None or not (_is_number(name) or name in self.server.names):
            self._refuse(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this page is at {self.server.url}; other names lead nowhere (start predict.py"
                " with --host NAME for another)",
            )
            return False
        origin = self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower()
        if self.command == "POST" and site not in (None, "same-origin"):
            foreign = True
        if foreign:
            self._refuse(HTTPStatus.FORBIDDEN, "another page may not ask")
        return not foreign

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what else was sent is not read
        self._send(status, "application/json", json.dumps({"refused": why}).encode("ascii"))

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code, message=None, explain=None) -> None:
        """What the standard library refuses itself, such as other methods, in the same form."""
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the page says what there is to say."""


def _name_in(host: str) -> str | None:
    """The name in a Host header, without the port, which may be forwarded from another machine;
    None where it is not valid.
    """
    try:
        parts = urlsplit(f"//{host}")
        if parts.netloc != host or parts.username is not None:
            return None
        parts.port  # noqa: B018  raises
        return parts.hostname
    except ValueError:
        return None


def _is_number(name: str) -> bool:
    """Whether a name is an address, which a foreign site cannot make its own."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
