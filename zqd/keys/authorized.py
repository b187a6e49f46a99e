"""Who may enter: the keys in a list, or in a directory of certificates, each with its name and its expiry.

Layer 2. Called by: `zqd.daemon`, which gives them to the CURVE handshake.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from zqd.errors import ConfigError
from zqd.keys.files import NOT_WRITTEN, check_mode, locate, properties_of, read, unreadable
from zqd.keys.pair import NAME, NAME_RULE, public_key
from zqd.keys.z85 import looks_like_key, z85_encode
from zqd.zmtp.handshake import NotAuthorizedError

ANONYMOUS = "anonymous"
"""The name of every key that has none of its own, where all may enter."""

_EXPIRY_RULE = "a day or a time in UTC, such as 2027-01-31 or 2027-01-31T12:00:00"
_MISSPELT = re.compile(r"\s*(?!expires\s*=)([^\s#=:]*(?i:expir)[^\s=:]*)")


class Entry(NamedTuple):
    """A key that may enter."""

    name: str
    expires: float | None  # seconds since the epoch; from then on it may not
    source: str  # where it stands


class Authorized:
    """The keys that may enter, by key; a `zqd.zmtp.curve.Guard`. With `anonymous` every other key may enter too."""

    __slots__ = ("_clock", "anonymous", "entries")

    def __init__(
        self,
        entries: Mapping[bytes, Entry],
        *,
        anonymous: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.entries = entries
        self.anonymous = anonymous
        self._clock = clock

    def admit(self, key: bytes) -> str:
        """The name of the key; NotAuthorizedError says why it may not enter. One that has expired never may."""
        entry = self.entries.get(key)
        if entry is None:
            if self.anonymous:
                return ANONYMOUS
            raise NotAuthorizedError(f"key {z85_encode(key)} is not authorized")
        if entry.expires is not None and entry.expires <= self._clock():
            when = datetime.fromtimestamp(entry.expires, UTC)
            raise NotAuthorizedError(
                f"key {z85_encode(key)} ({entry.name}) has expired at {when:%Y-%m-%dT%H:%M:%SZ}"
            )
        return entry.name

    def next_expiry(self) -> float | None:
        """Seconds until the next key expires, None where none will: then look at the open connections again."""
        now = self._clock()
        return min(
            (
                entry.expires - now
                for entry in self.entries.values()
                if entry.expires is not None and entry.expires > now
            ),
            default=None,
        )


def load_authorized(name: str | None, *, anonymous: bool = False) -> Authorized:
    """The keys in a directory of `*.key` certificates, or in a file of lines `KEY NAME [EXPIRY]`; none without a `name`.

    A certificate's name is its file's, its expiry is `expires = …` among its metadata. A day as EXPIRY is its beginning in
    UTC. ConfigError has a line for each fault: a bad key that went unnoticed would lock somebody out, or not.
    """
    entries: dict[bytes, Entry] = {}
    problems: list[str] = []
    for source, words in [] if name is None else _listed(locate(name), problems):
        try:
            key, entry = _entry(source, words)
            if key in entries:
                raise ValueError(f"the same key as in {entries[key].source}; expected each key once")
        except ValueError as error:
            problems.append(f"{source}: {error}")
        else:
            entries[key] = entry
    if problems:
        raise ConfigError(problems)
    return Authorized(entries, anonymous=anonymous)


def _listed(path: Path, problems: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Where it stands, and [key, name, expiry if any], for all that claims to be a key; the words are not checked yet."""
    try:
        if not path.is_dir():
            yield from _lines(path)
            return
        check_mode(path, path.stat(), *NOT_WRITTEN)
        certificates = sorted(p for p in path.iterdir() if p.suffix == ".key" and not p.name.startswith("."))
    except ConfigError as error:
        problems += error.problems
        return
    except OSError as error:
        problems.append(unreadable(path, error))
        return
    for certificate in certificates:
        try:
            text = read(certificate, *NOT_WRITTEN)
        except ConfigError as error:
            problems += error.problems
            continue
        # Who writes an expiry means one: it must not be lost because of how it is written.
        misspelt = [match[1] for match in map(_MISSPELT.match, text.splitlines()) if match]
        problems += [f"{certificate}: {name!a} is no property; expected expires = TIME" for name in misspelt]
        if not misspelt:
            properties = properties_of(text)
            expiry = properties.get("expires")
            words = [properties.get("public-key", ""), certificate.stem]
            yield str(certificate), words if expiry is None else [*words, expiry]


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(read(path, *NOT_WRITTEN).splitlines(), 1):
        words = line.split()
        # No key begins with "#": its first five characters would be more than four bytes.
        if words and not words[0].startswith("#"):
            yield f"{path}: line {number}", words


def _entry(source: str, words: list[str]) -> tuple[bytes, Entry]:
    if not 2 <= len(words) <= 3:
        raise ValueError(f"{'no name' if len(words) == 1 else 'too many words'}; expected KEY NAME [EXPIRY]")
    key, name, *expiry = words
    if any(looks_like_key(word) and not NAME.fullmatch(word) for word in words[1:]):
        raise ValueError("a key stands where another word belongs; expected KEY NAME [EXPIRY]")
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!a} is not a name; expected {NAME_RULE}")
    return public_key(key), Entry(name, _expiry(expiry[0]) if expiry else None, source)


def _expiry(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
        # In UTC, because the year may be another one there, which datetime does not have.
        return when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!a} is not an expiry; expected {_EXPIRY_RULE}") from None
