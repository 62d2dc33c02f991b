"""Asks a server for something, and reads what it sends while it works.

The conversation runs in a thread of its own, so that a job can be cancelled at any moment,
whatever the network does. Only the standard library; no torch.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from napari_resunet import errors
from napari_resunet.errors import (
    ArgumentError,
    Cancelled,
    CorrectionError,
    RemoteError,
    ResunetError,
)
from napari_resunet.events import CancelToken, Progress, drain
from napari_resunet.files import plain
from napari_resunet.remote.wire import (
    HELLO,
    MAX_LINE,
    Buffers,
    ErrorEvent,
    Event,
    Hello,
    MapsEvent,
    TunedEvent,
    check_version,
    not_understood,
    read_event,
    read_message,
    unpack,
)
from napari_resunet.types import RemoteServer

log = logging.getLogger(__name__)
CONNECT = 10.0
SILENT = 30.0
"""Seconds until a server counts as not there, and as gone; it sends a line each second."""

ALIVE = 0.2
"""Seconds between looks for a request to cancel."""

PIECE = 2**18
"""Bytes that are sent at once."""

LOOPBACK = "localhost", "127.0.0.1", "::1"

T = TypeVar("T")
Received = tuple[Event, list[Any]]
"""An event with its arrays."""


class UnknownModel(ResunetError):
    """The server does not have the model; it is sent again."""


def server_at(url: str, key: str) -> RemoteServer:
    """Check the address and the key that a user gave.

    Raises
    ------
    ArgumentError
        If either cannot be used.
    """
    text = url.strip()
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isascii() or not text.isprintable() or " " in text:
        raise ArgumentError(
            f"'{plain(url)}' is no address of a server: give one such as "
            "http://127.0.0.1:8787."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ArgumentError(
            "The address of the server holds more than a name and a port: give the key in "
            "its own place, because addresses are shown and logged."
        )
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ArgumentError(
            "The key is missing or holds characters that no key has: copy it from where "
            "'napari-resunet serve' printed it."
        )
    return RemoteServer(text.rstrip("/"), key)


def name_of(server: RemoteServer) -> str:
    """Return host and port, for the user."""
    return urlsplit(server.url).netloc


def is_readable(server: RemoteServer) -> bool:
    """Return whether others in the network can read what is sent."""
    parts = urlsplit(server.url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


def connect_steps(
    server: RemoteServer, token: CancelToken | None = None
) -> Generator[Progress, None, RemoteServer]:
    """Ask a server what it is; return it with its device.

    Raises
    ------
    RemoteError
        If it is not there, refuses the key, or is of another version.
    """
    answer = Asked(server, "GET", HELLO, token, doing="connecting").line()
    hello = read_message(Hello, (yield from answer))
    check_version(hello.wire)
    return replace(server, device=hello.device, limit=hello.limit)


def connect(url: str, key: str) -> RemoteServer:
    """Connect to another computer on which ``napari-resunet serve`` runs.

    Parameters
    ----------
    url : str
        Its address, such as "http://127.0.0.1:8787".
    key : str
        The key that it printed.

    Returns
    -------
    RemoteServer
        To be given as the `device` of `segment` and `fine_tune`.

    Raises
    ------
    ArgumentError
        If address or key cannot be used.
    RemoteError
        If the server is not there, refuses the key, or is of another version.
    """
    return drain(connect_steps(server_at(url, key)))


class Asked:
    """One request, and its answer as it comes.

    Parameters
    ----------
    server : RemoteServer
        Whom to ask.
    method, path : str
        What to ask for.
    token : CancelToken or None
        Ends the conversation.
    body : list of buffers
        What to send.
    most : int
        Most bytes of the arrays of an event.
    doing : str
        What is shown before the first event.
    """

    def __init__(
        self,
        server: RemoteServer,
        method: str,
        path: str,
        token: CancelToken | None = None,
        body: Buffers | None = None,
        *,
        most: int = 0,
        doing: str = "waiting for the server",
    ) -> None:
        self._server, self._method, self._path = server, method, path
        self._body, self._most = body or [], most
        self._token = token or CancelToken()
        self._doing = doing
        self._n_sent, self._n = 0, sum(len(piece) for piece in self._body)
        self._items: SimpleQueue[Any] = SimpleQueue()
        self._socket: socket.socket | None = None
        self._closed = False

    def line(self) -> Generator[Progress, None, bytes]:
        """Return an answer of one line."""
        found = b""
        with closing(self._items_of(lambda answer: [answer.read(MAX_LINE)])) as items:
            for item in items:
                found = item or found
                yield self._waits
        return found

    def events(
        self, on_event: Callable[[Received], T | None]
    ) -> Generator[Progress | T, None, None]:
        """Yield what a function makes of each event; between them, that it goes on."""
        latest = None
        with closing(self._items_of(self._read_events)) as items:
            for item in items:
                if item is None:
                    yield latest or self._waits
                    continue
                made = on_event(item)
                latest = made if isinstance(made, Progress) else latest
                if made is not None:
                    yield made

    def _items_of(
        self, read: Callable[[HTTPResponse], Iterable[Any]]
    ) -> Generator[Any, None, None]:
        """Run the conversation; yield what arrives, and None while nothing does."""
        if self._n > self._server.limit:
            raise RemoteError(
                f"This needs {self._n / 1e6:.0f} MB to be sent, and the server takes "
                f"{self._server.limit / 1e6:.0f} MB at once: choose a smaller area."
            )
        Thread(target=self._run, args=(read,), daemon=True).start()
        item = None
        try:
            while item is not _END:
                yield item
                item = self._next()
                if self._token.cancelled:
                    raise Cancelled
                if isinstance(item, BaseException):
                    raise sentence(item, self._server) from item
        finally:
            self._close()

    @property
    def _waits(self) -> Progress:
        """What is going on while the server says nothing."""
        if self._n_sent == self._n:
            return Progress(0, 0, self._doing)
        # Not counted, because what is counted is the work.
        sent, n = self._n_sent / 1e6, self._n / 1e6
        return Progress(0, 0, f"sending to the server: {sent:.0f} of {n:.0f} MB")

    def _next(self) -> Any:
        with suppress(Empty):
            return self._items.get(timeout=ALIVE)
        return None

    def _close(self) -> None:
        """Close the connection, which also wakes its thread and stops the server's work."""
        self._closed = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    # In the thread --------------------------------------------------------------------

    def _run(self, read: Callable[[HTTPResponse], Iterable[Any]]) -> None:
        connection = _connection(self._server)
        try:
            with closing(self._answer(connection)) as answer:
                if answer.status != 200:
                    raise _refusal(answer, self._server)
                for item in read(answer):
                    self._items.put(item)
            self._items.put(_END)
        except Exception as error:
            log.debug("The server at %s", name_of(self._server), exc_info=error)
            self._items.put(error)
        finally:
            connection.close()

    def _answer(self, connection: HTTPConnection) -> HTTPResponse:
        connection.connect()
        self._socket = connection.sock
        if self._closed:
            raise ConnectionAbortedError
        connection.sock.settimeout(SILENT)
        path = urlsplit(self._server.url).path + self._path
        headers = {
            "Authorization": f"Bearer {self._server.key}",
            "Content-Length": str(self._n),
        }
        try:
            connection.request(self._method, path, self._pieces(), headers)
        except (BrokenPipeError, ConnectionResetError):
            # It may have refused before it read all of it, and have said why.
            if not self._n_sent:
                raise
        return connection.getresponse()

    def _pieces(self) -> Iterator[bytes | memoryview]:
        for buffer in self._body:
            for begin in range(0, len(buffer), PIECE):
                piece = buffer[begin : begin + PIECE]
                self._n_sent += len(piece)
                yield piece

    def _read_events(self, answer: HTTPResponse) -> Iterator[Received]:
        while line := answer.readline(MAX_LINE):
            if not line.strip():  # the server is still there
                continue
            if not line.endswith(b"\n"):
                raise ConnectionAbortedError
            event = read_event(line)
            if isinstance(event, ErrorEvent):
                raise _error_of(event)
            if event.size > self._most:
                raise not_understood()
            yield event, [unpack(p, _exactly(answer, p.n_bytes)) for p in event.arrays]
            if isinstance(event, MapsEvent | TunedEvent):
                return
        raise ConnectionAbortedError


_END = object()


def _connection(server: RemoteServer) -> HTTPConnection:
    parts: SplitResult = urlsplit(server.url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return HTTPSConnection(host, parts.port, timeout=CONNECT)
    return HTTPConnection(host, parts.port, timeout=CONNECT)


def _exactly(answer: HTTPResponse, n: int) -> memoryview:
    """Read as many bytes as an event announced, which its reader has checked."""
    data = memoryview(bytearray(n))
    done = 0
    while done < n:
        got = answer.readinto(data[done:])
        if not got:
            raise ConnectionAbortedError
        done += got
    return data


def _refusal(answer: HTTPResponse, server: RemoteServer) -> ResunetError:
    """Make the error for an answer other than "OK"."""
    if answer.status == 401:
        return RemoteError(
            f"The server at {name_of(server)} refuses the key: copy it again from where "
            "'napari-resunet serve' printed it."
        )
    with suppress(RemoteError):
        event = read_event(answer.read(MAX_LINE))
        if isinstance(event, ErrorEvent):
            return _error_of(event)
    return _foreign(server)


def _foreign(server: RemoteServer) -> RemoteError:
    return RemoteError(
        f"What answers at {name_of(server)} is no server of napari-resunet: check the "
        "address and the port."
    )


def _error_of(event: ErrorEvent) -> ResunetError:
    """Make the error that a server reports, in its own words."""
    if event.kind == UnknownModel.__name__:
        return UnknownModel(event.text)
    kind = getattr(errors, event.kind, RemoteError)
    known = isinstance(kind, type) and issubclass(kind, ResunetError)
    kind = kind if known else RemoteError
    if issubclass(kind, RemoteError | CorrectionError):
        return kind(event.text)
    return kind(f"On the server: {event.text}")


def sentence(error: BaseException, server: RemoteServer) -> ResunetError:
    """Turn whatever happened to a connection into one of our errors."""
    if isinstance(error, ResunetError):
        return error
    name = name_of(server)
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return RemoteError(
            f"Nothing answers at {name}: start 'napari-resunet serve' on the other "
            "computer, and the SSH tunnel on this one."
        )
    if isinstance(error, ssl.SSLError):
        return RemoteError(
            f"The connection to {name} cannot be encrypted ({plain(error)}): check the "
            "address, or use an SSH tunnel."
        )
    if isinstance(error, TimeoutError):
        return RemoteError(
            f"The server at {name} does not answer any more: look at it, and try again. "
            "Your labels and models are as they were."
        )
    if isinstance(error, OSError | HTTPException):
        return RemoteError(
            f"The connection to {name} was lost: try again. Your labels and models are as "
            "they were."
        )
    return RemoteError(
        f"The server at {name} sent something unexpected ({type(error).__name__}): try "
        "again; the log has the details."
    )
