"""Keys as text: the 40 characters of Z85 (RFC 32) that certificates, lists and command lines have.

Layer 2, and imports nothing of zqd: `zqd.config` is loaded at every start, and has to know a key from the name of a file.
Called by: `zqd.config`, `zqd.daemon`, `zqd.worker`, and the other modules of `zqd.keys`.
"""

from __future__ import annotations

import string

SIZE = 40  # characters of a key

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_VALUES = {character: value for value, character in enumerate(_Z85)}
_PLAIN = {*string.ascii_letters, *string.digits, *".-@/"}  # what names and paths are made of


def z85_encode(data: bytes) -> str:
    """Four bytes become five characters (RFC 32); the length of `data` is a multiple of four."""
    text = []
    for at in range(0, len(data), 4):
        value = int.from_bytes(data[at : at + 4], "big")
        text += [_Z85[value // 85**power % 85] for power in (4, 3, 2, 1, 0)]
    return "".join(text)


def z85_decode(text: str) -> bytes:
    """The bytes of `text`; ValueError, which does not repeat it, where it is not Z85."""
    if len(text) % 5 or any(character not in _VALUES for character in text):
        raise ValueError("not Z85 (RFC 32)")
    data = b""
    for at in range(0, len(text), 5):
        value = 0
        for character in text[at : at + 5]:
            value = value * 85 + _VALUES[character]
        if value >> 32:
            raise ValueError("not Z85 (RFC 32)")
        data += value.to_bytes(4, "big")
    return data


def key_of(text: str) -> bytes:
    """The 32 bytes of a key; ValueError, which does not repeat it, where `text` is none."""
    if len(text) != SIZE:
        raise ValueError(f"{len(text)} characters long, where a key has {SIZE}")
    return z85_decode(text)


def looks_like_key(text: str) -> bool:
    """Whether `text` is a key itself, give or take a character, where a file is meant: then nobody may repeat it.

    Quotes round it do not hide it. Keys have characters that names of files hardly have: of 20,000 one has none.
    """
    text = text.strip(" \t\r\n\"'")
    odd = _VALUES.keys() - _PLAIN
    return abs(len(text) - SIZE) <= 1 and _VALUES.keys() >= set(text) and not odd.isdisjoint(text)
