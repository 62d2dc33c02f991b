"""JSON with a checksum of its own, so that one damaged bit is noticed."""

from __future__ import annotations

import json
import zlib
from typing import Any

from pydantic import BaseModel

CHECKSUM = "checksum"
PREFIX = "json-crc32:"


def sealed(record: BaseModel) -> str:
    """Write a record as JSON, with the checksum of all other fields as the last one."""
    fields = json.loads(record.model_dump_json())
    fields.pop(CHECKSUM, None)
    return json.dumps(fields | {CHECKSUM: _checksum(fields)}, indent=1)


def unsealed(text: str) -> tuple[dict[str, Any], bool]:
    """Read what `sealed` wrote.

    Returns
    -------
    fields : dict
        Without the checksum.
    intact : bool
        Whether they are as they were written. True where there is no checksum, as in
        files of older programs and where somebody who edited it took it out.

    Raises
    ------
    ValueError
        If it is no JSON object.
    """
    try:
        fields = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError("no JSON object")
    if CHECKSUM in fields:
        known = fields.pop(CHECKSUM)
        return fields, known == _checksum(fields)
    # The name of the checksum itself may be what is damaged.
    return fields, not any(str(v).startswith(PREFIX) for v in fields.values())


def sealed_line(fields: dict[str, Any]) -> str:
    """Write an object as one line of JSON with its checksum."""
    return json.dumps(fields | {CHECKSUM: _checksum(fields)})


def _checksum(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True)
    return f"{PREFIX}{zlib.crc32(text.encode()):08x}"
