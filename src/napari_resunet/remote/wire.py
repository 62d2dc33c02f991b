"""What travels between client and server: JSON and raw arrays, and nothing else.

A message is one line of JSON. The bytes of the arrays that it names follow. Each side
believes nothing of the other: types, lengths, and shapes are checked before memory is
allocated for them, and nothing that arrives is executed. No torch, no HTTP.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from napari_resunet.engine.changes import MAX_IMAGES, Changes
from napari_resunet.engine.outcome import HeldOutScore, Outcome
from napari_resunet.errors import RemoteError
from napari_resunet.files import plain_name
from napari_resunet.types import Count, Decoding, Fraction, RemoteServer, Statistics

WIRE = 1
"""Version of all of this: both sides need the same one."""

MAX_LINE = 2**22
MAX_BODY = RemoteServer.limit
MAX_MODEL = 2**28
"""Most bytes of a line of JSON, of a request, and of a model file."""

MAX_TEXT = 1000
SAMPLE = 2**16
WORTH_IT = 0.7
"""Arrays are compressed if a sample of so many bytes shrinks to this fraction."""

HELLO, MODELS, STOP = "/v1/hello", "/v1/models", "/v1/stop"
PREDICT, FINE_TUNE = "/v1/predict", "/v1/fine-tune"


def _line(text: str) -> str:
    """Make a text of the other side one printable line."""
    return " ".join(plain_name(text[:MAX_TEXT]).split())


Text = Annotated[str, AfterValidator(_line)]
JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Buffers = list[bytes | memoryview]
M = TypeVar("M", bound="Message")


class Packed(BaseModel):
    """How the bytes of an array are to be read.

    Attributes
    ----------
    dtype : str
        As numpy writes it: whole numbers, floats, or bool.
    shape : tuple of int
        At most four dimensions.
    n_bytes : int
        Length of what travels.
    codec : {"raw", "zlib"}
        Whether that is compressed.
    """

    model_config = ConfigDict(frozen=True)

    dtype: Annotated[str, Field(pattern=r"^(\|[bui]1|[<>][ui][248]|[<>]f[248])$")]
    shape: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**40)], ...], Field(max_length=4)]
    n_bytes: Count
    codec: Literal["raw", "zlib"] = "raw"

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)

    @model_validator(mode="after")
    def _fits(self) -> Packed:
        honest = (
            self.n_bytes == self.size
            if self.codec == "raw"
            else 0 < self.n_bytes < self.size
        )
        if not honest:
            raise ValueError("the length does not fit the shape")
        return self


class Message(BaseModel):
    """A line of JSON, and the arrays that follow it."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    arrays: Annotated[tuple[Packed, ...], Field(max_length=2**16)] = ()

    @property
    def n_bytes(self) -> int:
        """Length of all arrays as they travel."""
        return sum(packed.n_bytes for packed in self.arrays)

    @property
    def size(self) -> int:
        """Bytes of all arrays in memory."""
        return sum(packed.size for packed in self.arrays)


class Hello(Message):
    """What a server says of itself."""

    program: Literal["napari-resunet"] = "napari-resunet"
    wire: int = WIRE
    version: Text
    device: Text
    limit: Count


class Known(Message):
    """Whether the server has a model."""

    known: bool


class Request(Message):
    """What every request for work has."""

    wire: int = WIRE
    job: JobId
    model: Digest


class PredictMessage(Request):
    """Predict the maps of a window; the array has its pixels, shape (Y, X, C)."""

    scale: Annotated[float, Field(ge=1e-4, le=1e4)]
    statistics: Statistics
    tta: bool


class ExampleFacts(BaseModel):
    """What is known of an example besides its arrays.

    These are image and labels, and then the masks `verified` and `edited` if it has them.
    A held-out window is (top, bottom, left, right).
    """

    model_config = ConfigDict(frozen=True)

    scale: Annotated[float, Field(ge=1e-4, le=1e4)] | None
    statistics: Statistics | None
    held_out: tuple[tuple[Count, Count, Count, Count], ...]
    pixel_size: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    verified: bool
    edited: bool

    @property
    def n_arrays(self) -> int:
        """Number of its arrays."""
        return 2 + self.verified + self.edited


class OtherFacts(BaseModel):
    """What is known of an image without labels besides its one array; not its name."""

    model_config = ConfigDict(frozen=True)

    scale: Annotated[float, Field(ge=1e-4, le=2000)]
    statistics: Statistics | None


class FineTuneMessage(Request):
    """Fine-tune a model on examples; `config` has the fields of a `FineTuneConfig`.

    The arrays of `others`, one of each, follow those of the examples.
    """

    decoding: Decoding
    config: dict[str, Any]
    examples: Annotated[tuple[ExampleFacts, ...], Field(min_length=1)]
    others: Annotated[tuple[OtherFacts, ...], Field(max_length=MAX_IMAGES)] = ()


class ProgressEvent(Message):
    """How much is done."""

    event: Literal["progress"] = "progress"
    done: Count
    total: Count
    text: Text = ""


class NoticeEvent(Message):
    """Something the user should know."""

    event: Literal["notice"] = "notice"
    text: Text


class StepEvent(Message):
    """One step of a fine-tuning; see `FineTuneStep`."""

    event: Literal["step"] = "step"
    step: Count
    loss: float
    held_out: HeldOutScore | None
    fraction: Fraction
    seconds_left: Annotated[float, Field(ge=0)]
    before: HeldOutScore | None


class MapsEvent(Message):
    """The maps that were asked for, float16, shape (n_maps, Y, X)."""

    event: Literal["maps"] = "maps"


class TunedEvent(Message):
    """The result of a fine-tuning; see `FineTuneResult`.

    A `new` model or candidate is the one array: the bytes of its file. `elsewhere` is what
    it changes on each of the others; None if they were not compared.
    """

    event: Literal["tuned"] = "tuned"
    outcome: Outcome
    before: HeldOutScore | None
    after: HeldOutScore | None
    text: Text
    n_objects: Count
    n_regions: Count
    steps: Count
    new: Literal["", "model", "candidate"]
    elsewhere: Annotated[tuple[Changes, ...], Field(max_length=MAX_IMAGES)] | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None


class ErrorEvent(Message):
    """Why there is no result: the name of one of our errors, and its sentence."""

    event: Literal["error"] = "error"
    kind: Text
    text: Text


Event = ProgressEvent | NoticeEvent | StepEvent | MapsEvent | TunedEvent | ErrorEvent
_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def read_event(line: bytes) -> Event:
    """Read an event of a server.

    Raises
    ------
    RemoteError
        If it is none.
    """
    try:
        return _EVENTS.validate_json(line)
    except ValidationError as error:
        raise not_understood() from error


def read_message(kind: type[M], line: bytes) -> M:
    """Read a message of a known kind.

    Raises
    ------
    RemoteError
        If it is of another version, or is no such message.
    """
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        other = _wire_of(line)
        raise (not_understood() if other == WIRE else other_version(other)) from error


def check_version(wire: int) -> None:
    """Refuse a message of another version.

    Raises
    ------
    RemoteError
        If the other side has another version.
    """
    if wire != WIRE:
        raise other_version(wire)


def _wire_of(line: bytes) -> Any:
    """Return the version that a message states which cannot be read."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return WIRE
    return message.get("wire", WIRE) if isinstance(message, dict) else WIRE


def other_version(wire: Any) -> RemoteError:
    """Make the error for a server or client of another version."""
    return RemoteError(
        f"Server and client are of different versions ({wire!s:.10} and {WIRE}): install "
        "the same version of napari-resunet on both computers."
    )


def not_understood() -> RemoteError:
    """Make the error for what is no message of ours, or does not hold what it says."""
    return RemoteError(
        "What arrived is damaged or does not have the size that it states: try again, and "
        "install the same version of napari-resunet on both computers."
    )


def frame(message: Message, arrays: Sequence[npt.NDArray[Any]] = ()) -> Buffers:
    """Write a message and its arrays, in pieces that are to be sent in this order."""
    packed = [_pack(array) for array in arrays]
    named = message.model_copy(update={"arrays": tuple(p for p, _ in packed)})
    return [named.model_dump_json().encode() + b"\n", *(data for _, data in packed)]


def _pack(array: npt.NDArray[Any]) -> tuple[Packed, bytes | memoryview]:
    if array.dtype.itemsize > 8:  # extended precision, which other computers may not have
        array = array.astype(np.float64)
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    facts = {"dtype": array.dtype.str, "shape": array.shape}
    if _shrinks(raw):
        data = zlib.compress(raw, 1)
        if len(data) < len(raw):
            return Packed(**facts, n_bytes=len(data), codec="zlib"), data
    return Packed(**facts, n_bytes=len(raw)), raw


def _shrinks(raw: memoryview) -> bool:
    """Return whether a sample of the middle shrinks when it is compressed."""
    begin = max(0, (len(raw) - SAMPLE) // 2)
    sample = raw[begin : begin + SAMPLE]
    return len(zlib.compress(sample, 1)) < WORTH_IT * len(sample)


def unpack(packed: Packed, data: bytes | bytearray | memoryview) -> npt.NDArray[Any]:
    """Read an array from as many bytes as `packed` says.

    Raises
    ------
    RemoteError
        If they hold more or less.
    """
    if packed.codec == "zlib":
        stream = zlib.decompressobj()
        try:
            # One more byte than needed shows whether there is more.
            data = stream.decompress(data, packed.size + 1)
        except zlib.error as error:
            raise not_understood() from error
        if not stream.eof or stream.unused_data:
            raise not_understood()
    if len(data) != packed.size:
        raise not_understood()
    array = np.frombuffer(data, packed.dtype).reshape(packed.shape)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def unpack_all(message: Message, data: memoryview) -> list[npt.NDArray[Any]]:
    """Read the arrays of a message from the bytes that follow it.

    Raises
    ------
    RemoteError
        If the bytes are not what the message says.
    """
    if message.n_bytes != len(data):
        raise not_understood()
    arrays, begin = [], 0
    for packed in message.arrays:
        arrays.append(unpack(packed, data[begin : begin + packed.n_bytes]))
        begin += packed.n_bytes
    return arrays
