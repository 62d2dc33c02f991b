"""Answers requests for work: who may ask, what is read of a request, whose turn it is.

One computation runs at a time; others wait for it, and are told so. While one runs, a line
is sent each half second, so that either side notices when the other is gone. This is the
only module that imports starlette and uvicorn.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing, contextmanager, suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar, cast

from napari_resunet._package import library_versions
from napari_resunet.engine.device import Compute
from napari_resunet.errors import Cancelled, RemoteError, ResunetError
from napari_resunet.events import CancelToken
from napari_resunet.files import plain
from napari_resunet.remote.wire import (
    FINE_TUNE,
    HELLO,
    MAX_BODY,
    MAX_LINE,
    MAX_MODEL,
    MODELS,
    PREDICT,
    STOP,
    Buffers,
    ErrorEvent,
    FineTuneMessage,
    Hello,
    Known,
    Message,
    PredictMessage,
    ProgressEvent,
    Request,
    check_version,
    frame,
    not_understood,
    read_message,
    unpack_all,
)
from napari_resunet.remote.work import Models, Work, fine_tune, predict

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import ClientDisconnect
    from starlette.requests import Request as Asked
    from starlette.responses import Response
    from starlette.routing import Route
except ImportError as error:
    raise RemoteError(
        'The server needs more libraries: run pip install "napari-resunet[serve]".'
    ) from error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)
BEAT = 0.5
"""Seconds after which a line is sent that says nothing."""

STUCK = 60.0
"""Seconds after which a client that takes nothing counts as gone."""

MAX_HELD = 5
"""Requests whose pixels are in memory: the one that is computed, and those that wait."""

PIECE = 2**18
"""Bytes that are sent at once."""

NOTHING = b"\n"
"""A line that says that the other side is still there."""

R = TypeVar("R", bound=Request)
Put = Callable[[Buffers | None], None]
WORDS = {PREDICT: "a segmentation", FINE_TUNE: "a fine-tuning"}
EVENTS = "application/x-ndjson"


class BusyError(RemoteError):
    """Too many requests wait already."""


class TooLargeError(RemoteError):
    """A request is larger than the server takes."""


class Service:
    """The requests of all clients, and the one that is being computed.

    Parameters
    ----------
    compute : Compute
        The device.
    key : str
        What clients have to know.
    limit : int
        The largest request that is read, in bytes.

    Attributes
    ----------
    models : Models
        The models that clients sent.
    app : ASGI application
        To be run by uvicorn.
    """

    def __init__(self, compute: Compute, key: str, limit: int = MAX_BODY) -> None:
        self.models = Models(compute)
        self._compute, self._limit = compute, limit
        self._turn, self._busy_with, self._n_held = Lock(), "", 0
        self._tokens: dict[str, CancelToken] = {}
        routes = [
            Route(HELLO, self._hello),
            Route(f"{MODELS}/{{digest}}", self._has_model, methods=["GET"]),
            Route(f"{MODELS}/{{digest}}", self._put_model, methods=["PUT"]),
            Route(PREDICT, self._predict, methods=["POST"]),
            Route(FINE_TUNE, self._fine_tune, methods=["POST"]),
            Route(f"{STOP}/{{job}}", self._stop, methods=["POST"]),
        ]
        handlers: Any = {ResunetError: _refused, ClientDisconnect: _gone}
        self.app: ASGIApp = _Locked(
            Starlette(routes=routes, exception_handlers=handlers), key
        )

    async def _hello(self, asked: Asked) -> Response:
        version = library_versions()["napari-resunet"]
        device = self._compute.description
        return _line(Hello(version=version, device=device, limit=self._limit))

    async def _has_model(self, asked: Asked) -> Response:
        return _line(Known(known=asked.path_params["digest"] in self.models))

    async def _put_model(self, asked: Asked) -> Response:
        n = _length(asked, min(self._limit, MAX_MODEL))
        data = bytearray()
        async for piece in asked.stream():
            data += piece
        if len(data) != n:
            raise not_understood()
        with _plain_errors():
            await run_in_threadpool(self.models.receive, asked.path_params["digest"], data)
        return _line(Known(known=True))

    async def _stop(self, asked: Asked) -> Response:
        token = self._tokens.get(asked.path_params["job"])
        if token is not None:
            token.stop()
        return _line(Known(known=token is not None))

    async def _predict(self, asked: Asked) -> Response:
        def start(message: PredictMessage, arrays: Any, token: CancelToken) -> Work:
            return predict(self.models, message, arrays, token)

        return await self._work(asked, PredictMessage, start)

    async def _fine_tune(self, asked: Asked) -> Response:
        def start(message: FineTuneMessage, arrays: Any, token: CancelToken) -> Work:
            return fine_tune(self.models, self._compute, message, arrays, token)

        return await self._work(asked, FineTuneMessage, start)

    async def _work(
        self, asked: Asked, kind: type[R], start: Callable[[R, Any, CancelToken], Work]
    ) -> Response:
        """Read a request, and answer with the events of its work."""
        n = _length(asked, self._limit)
        if self._n_held >= MAX_HELD:
            async for _ in asked.stream():
                pass  # a client that still sends would not hear the answer
            raise BusyError(
                f"The server is busy with {self._busy_with or 'other work'}, and others "
                "wait for it already: try again later."
            )
        self._n_held += 1
        try:
            message, data = await _read(asked, kind, n)
        except BaseException:
            self._let_go()
            raise
        token = CancelToken()

        def steps() -> Work:
            arrays = unpack_all(message, data)
            return (yield from start(message, arrays, token))

        events = self._events(message, WORDS[asked.url.path], steps, token)
        return cast("Response", _Events(events, self._let_go))

    def _let_go(self) -> None:
        self._n_held -= 1

    async def _events(
        self, message: Request, words: str, steps: Callable[[], Work], token: CancelToken
    ) -> AsyncGenerator[bytes | memoryview]:
        """Compute in a thread, and pass on what it sends."""
        channel = _Channel(token)
        self._tokens[message.job] = token
        Thread(target=self._run, args=(words, steps, channel.put), daemon=True).start()
        try:
            async with aclosing(channel.messages()) as messages:
                async for buffers in messages:
                    for buffer in buffers:
                        yield buffer
        finally:
            self._tokens.pop(message.job, None)

    # In the thread --------------------------------------------------------------------

    def _run(self, words: str, steps: Callable[[], Work], put: Put) -> None:
        """Compute when it is its turn, and send the result or why there is none."""
        with suppress(Cancelled):
            try:
                with _plain_errors():
                    result = self._in_turn(words, steps, put)
            except Cancelled:
                raise
            except ResunetError as error:
                result = frame(_error(error))
            put(result)
            put(None)

    def _in_turn(self, words: str, steps: Callable[[], Work], put: Put) -> Buffers:
        self._wait(put)
        try:
            self._busy_with = words
            work = steps()
            while True:
                try:
                    put(next(work))
                except StopIteration as stop:
                    result: Buffers = stop.value
                    return result
        finally:
            self._busy_with = ""
            self._turn.release()

    def _wait(self, put: Put) -> None:
        """Wait for the turn, and say for what."""
        said = ""
        while not self._turn.acquire(timeout=BEAT):
            text = f"waiting: the server is busy with {self._busy_with or 'other work'}"
            event = ProgressEvent(done=0, total=0, text=text)
            put([NOTHING] if text == said else frame(event))
            said = text


class _Channel:
    """From the thread that computes to the answer, with a few messages in between.

    The token is cancelled when the answer ends, so that the thread ends, too.
    """

    def __init__(self, token: CancelToken) -> None:
        self._token, self._loop = token, asyncio.get_running_loop()
        self._queue: asyncio.Queue[Buffers | None] = asyncio.Queue(4)

    def put(self, buffers: Buffers | None) -> None:
        """Send a message, or None after the last one; called in the thread."""
        if self._token.cancelled:
            raise Cancelled
        sending = self._queue.put(buffers)
        try:
            asyncio.run_coroutine_threadsafe(sending, self._loop).result()
        except (RuntimeError, CancelledError) as error:  # the program ends
            sending.close()
            raise Cancelled from error

    async def messages(self) -> AsyncGenerator[Buffers]:
        """Yield the messages, and now and then an empty line."""
        getting = asyncio.ensure_future(self._queue.get())
        try:
            while True:
                done, _ = await asyncio.wait({getting}, timeout=BEAT)
                if not done:
                    yield [NOTHING]
                    continue
                buffers = getting.result()
                if buffers is None:
                    return
                getting = asyncio.ensure_future(self._queue.get())
                yield buffers
        finally:
            self._token.cancel()
            getting.cancel()
            while not self._queue.empty():  # the thread may wait for room
                self._queue.get_nowait()


class _Locked:
    """Lets nobody in without the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._wanted = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] != "lifespan" and not hmac.compare_digest(given, self._wanted):
            error = RemoteError("The key is missing or wrong.")
            await _line(_error(error), 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Events:
    """An answer that comes line by line, until it ends or the client is gone."""

    def __init__(
        self, events: AsyncGenerator[bytes | memoryview], on_end: Callable[[], None]
    ) -> None:
        self._events, self._on_end = events, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tasks = {asyncio.ensure_future(c) for c in (self._send(send), _until_gone(receive))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._on_end()

    async def _send(self, send: Send) -> None:
        headers = [(b"content-type", EVENTS.encode())]
        async with aclosing(self._events) as events:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for data in events:
                for begin in range(0, len(data), PIECE):
                    body = data[begin : begin + PIECE]
                    piece = {"type": "http.response.body", "body": body, "more_body": True}
                    await asyncio.wait_for(send(piece), STUCK)
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(asked: Asked, kind: type[R], n: int) -> tuple[R, memoryview]:
    """Read a request; refuse it as soon as its first line and its length disagree."""
    message, data, begin = None, bytearray(), 0
    async for piece in asked.stream():
        data += piece
        if message is not None:
            continue
        begin = data.find(b"\n") + 1
        if begin:
            message = read_message(kind, bytes(data[:begin]))
            check_version(message.wire)
            if begin + message.n_bytes != n or message.size > MAX_BODY:
                raise not_understood()
        elif len(data) > MAX_LINE:
            raise not_understood()
    if message is None or len(data) != n:
        raise not_understood()
    return message, memoryview(data)[begin:]


def _length(asked: Asked, limit: int) -> int:
    """Return the length that a request states, if it is not too large."""
    stated = asked.headers.get("content-length", "")
    if not stated.isdecimal():
        raise not_understood()
    if int(stated) > limit:
        raise TooLargeError(
            f"This is larger than the {limit / 1e6:.0f} MB that the server takes at once: "
            "choose a smaller area."
        )
    return int(stated)


def _line(message: Message, status: int = 200) -> Response:
    return Response(frame(message)[0], status, media_type=EVENTS)


def _error(error: BaseException) -> ErrorEvent:
    return ErrorEvent(kind=type(error).__name__, text=str(error))


STATUS: dict[type[Exception], int] = {BusyError: 503, TooLargeError: 413}


async def _refused(asked: Asked, error: Exception) -> Response:
    return _line(_error(error), STATUS.get(type(error), 400))


async def _gone(asked: Asked, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn an unexpected error into one sentence, with its traceback in the log."""
    try:
        yield
    except ResunetError:
        raise
    except Exception as error:
        log.exception("Unexpected error")
        what = plain(f"{type(error).__name__}: {error}")
        raise RemoteError(
            f"Unexpected error on the server ({what}); its log has the details."
        ) from error


def listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Raises
    ------
    RemoteError
        If it cannot be opened.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise RemoteError(
            f"The server cannot listen at {plain(host)}, port {port} "
            f"({error.strerror or error}): give another --port or --host."
        ) from error


def make_server(service: Service) -> uvicorn.Server:
    """Make what runs a service; its log has neither keys nor addresses of requests."""
    config = uvicorn.Config(
        service.app,
        log_config=None,
        access_log=False,
        lifespan="off",
        http="h11",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
