"""What a worker says about itself (rule 26): `["zqd/1", "hello", JSON]`, `leave`, `fail`.

Layer 1, pure; JSON is the only format that it knows. Called by: `queue`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from zqd.core.request import PROTOCOL
from zqd.errors import FailureCode
from zqd.zmtp.frames import Raw, decode_message, encode_frame, encode_message

PREFIX = encode_frame(PROTOCOL, 1)
"""How a notice begins: the frame `zqd/1`."""
LEFT = encode_message([PROTOCOL, b"left"])
"""The broker's answer to a leave, its last message on that connection."""

MAX_TEXT = 256  # characters of a name, unit or handler


@dataclass(frozen=True, slots=True)
class Hello:
    """Who a worker is and how many requests it runs at once."""

    name: str = ""
    pid: int | None = None
    unit: str = ""
    handler: str = ""
    capacity: int | None = None
    held: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """The worker wants to go."""


@dataclass(frozen=True, slots=True)
class Fail:
    """In place of a reply to the dispatch `id` (16 bytes)."""

    id: bytes
    code: FailureCode
    reason: str


def parse(raw: Raw) -> Hello | Leave | Fail:
    """The notice in a message that begins with PREFIX; ValueError says what is wrong with it."""
    verb, *rest = decode_message(raw)[1:] or [b""]
    if verb == b"hello" and len(rest) == 1:
        return _hello(rest[0])
    if verb == b"leave" and not rest:
        return Leave()
    if verb == b"fail" and len(rest) == 3 and len(rest[0]) == 16:
        code = int(rest[1]) if rest[1].isdigit() and len(rest[1]) < 4 else 0
        known = FailureCode(code) if code in set(FailureCode) else FailureCode.HANDLER_FAILED
        return Fail(rest[0], known, _printable(rest[2].decode("utf-8", "replace")))
    raise ValueError(f"unknown notice {verb[:32]!r} with {len(rest)} frames after it")


def _hello(body: bytes) -> Hello:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"hello is no JSON: {error}") from None
    if not isinstance(told, dict):
        raise ValueError("hello is no JSON object")
    capacity = told.get("capacity")
    if capacity is not None and (type(capacity) is not int or capacity < 1):
        raise ValueError("hello: capacity must be a whole number from 1")
    pid = told.get("pid")
    return Hello(
        name=_text(told, "name"),
        pid=pid if type(pid) is int and pid > 0 else None,
        unit=_text(told, "unit"),
        handler=_text(told, "handler"),
        capacity=capacity,
        held=_text(told, "held"),
    )


def _text(told: dict[str, object], key: str) -> str:
    """A string of the hello; empty where it is none."""
    value = told.get(key)
    return _printable(value) if isinstance(value, str) else ""


def _printable(text: str) -> str:
    """Fit to be written anywhere, a terminal included (JSON can also carry half a surrogate pair)."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:MAX_TEXT])[:MAX_TEXT]
