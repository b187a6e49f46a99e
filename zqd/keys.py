"""CURVE keys in files: our own pair, the keys that may enter, and writing new pairs.

Certificates have the format of `zmq.auth` and czmq: `public-key = "…"` and `secret-key = "…"`, each key 40 characters of
Z85 (RFC 32). A file is named by a path with a slash in it, or as a systemd credential, by its bare name
($CREDENTIALS_DIRECTORY, systemd.exec(5)).

Whoever can read our secret can be us, and whoever can write the list of keys can enter: files with such modes are
refused. No secret is in a repr, or in an error's text. Layer 2. Called by: `zqd.config`, `zqd.daemon`, `zqd.ctl` (keygen).
"""

from __future__ import annotations

import os
import re
import stat
import string
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from zqd.errors import ConfigError, UnavailableError, UsageError
from zqd.zmtp.handshake import NotAuthorizedError

KEY_SIZE = 32  # bytes of a key
Z85_SIZE = 40  # characters of one
ANONYMOUS = "anonymous"
"""The name of every key that has none of its own, where all may enter."""

_LARGEST = 4 << 20  # bytes of one file; more is not a list of keys but a wrong path (/dev/zero)
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_VALUES = {character: value for value, character in enumerate(_Z85)}
_PLAIN = {*string.ascii_letters, *string.digits, *".-@/"}  # what names and paths are made of
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,63}")
_NAME_RULE = "up to 64 letters, digits and ._@:+-, the first one a letter or a digit"
_NOT_WRITTEN = (0o022, "chmod go-w")  # mode bits that are refused, and what mends it
_EXPIRY_RULE = "a day or a time in UTC, such as 2027-01-31 or 2027-01-31T12:00:00"
_PROPERTY = re.compile(r"\s*([a-z-]+)\s*=\s*(.*?)\s*")
_MISSPELT = re.compile(r"\s*(?!expires\s*=)([^\s#=:]*(?i:expir)[^\s=:]*)")

_SECRET_HEAD = "# CURVE certificate: SECRET half. Nobody but its owner may read this file (zmq_curve(7)).\n"  # noqa: S105 - its first line
_PUBLIC_HEAD = "# CURVE certificate: public half, to be given to the other side (zmq_curve(7)).\n"


# Z85


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


def _key(text: str) -> bytes:
    """A key out of its Z85; ValueError, which does not repeat it."""
    if len(text) != Z85_SIZE:
        raise ValueError(f"{len(text)} characters long, where a key has {Z85_SIZE}")
    return z85_decode(text)


def looks_like_key(text: str) -> bool:
    """Whether `text` is a key itself, give or take a character, where a file is meant: then nobody may repeat it.

    Quotes round it do not hide it. Keys have characters that names of files hardly have: of 20,000 one has none.
    """
    text = text.strip(" \t\r\n\"'")
    odd = _VALUES.keys() - _PLAIN
    return abs(len(text) - Z85_SIZE) <= 1 and _VALUES.keys() >= set(text) and not odd.isdisjoint(text)


# Our own pair


class KeyPair:
    """A permanent key pair, 32 bytes each."""

    __slots__ = ("public", "secret")

    def __init__(self, public: bytes, secret: bytes) -> None:
        self.public = public
        self.secret = secret

    def __repr__(self) -> str:
        return f"<KeyPair {z85_encode(self.public)}>"


def load_secret(name: str) -> KeyPair:
    """The pair in a `.key_secret` certificate, or of a secret key alone in Z85.

    `name` is a path with a slash or a credential's name. ConfigError with one line where it cannot be had.
    """
    from nacl.bindings import crypto_scalarmult_base

    path = locate(name)
    # A credential's directory keeps others out, and its mode may be that of an access control list.
    text = _read(path, 0 if path.parent == _credentials() else 0o077, "chmod 600")
    bare = len(text.split()) == 1
    properties = {} if bare else _properties(text)
    secret_text = text.strip() if bare else properties.get("secret-key")
    if secret_text is None:
        raise ConfigError([f"{path}: has no secret-key; expected the .key_secret half of a certificate"])
    try:
        secret = _key(secret_text)
    except ValueError as error:
        raise ConfigError([f"{path}: the secret key is {error}; expected a file of `zqctl keygen`"]) from None
    public = crypto_scalarmult_base(secret)
    if properties.get("public-key", z85_encode(public)) != z85_encode(public):
        raise ConfigError([f"{path}: public-key does not belong to secret-key; expected both of one pair"])
    return KeyPair(public, secret)


def load_public(text: str) -> bytes:
    """Another's public key: 40 characters of Z85, or the path of a certificate. ConfigError where it cannot be had."""
    try:
        return _key(text)
    except ValueError as error:
        if looks_like_key(text):
            raise ConfigError([f"the key is {error}; expected one, or the path of a certificate"]) from None
    path = Path(text)  # no key: a file, then
    try:
        properties = _properties(_read(path, *_NOT_WRITTEN))
    except ConfigError as error:
        raise ConfigError(
            [f"{problem}, or a key of {Z85_SIZE} characters" for problem in error.problems]
        ) from None
    try:
        return _public_key(properties.get("public-key", ""))
    except ValueError as error:
        raise ConfigError([f"{path}: {error}"]) from None


# Who may enter


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
        _check_mode(path, path.stat(), *_NOT_WRITTEN)
        certificates = sorted(p for p in path.iterdir() if p.suffix == ".key" and not p.name.startswith("."))
    except ConfigError as error:
        problems += error.problems
        return
    except OSError as error:
        problems.append(_unreadable(path, error))
        return
    for certificate in certificates:
        try:
            text = _read(certificate, *_NOT_WRITTEN)
        except ConfigError as error:
            problems += error.problems
            continue
        # Who writes an expiry means one: it must not be lost because of how it is written.
        misspelt = [match[1] for match in map(_MISSPELT.match, text.splitlines()) if match]
        problems += [f"{certificate}: {name!a} is no property; expected expires = TIME" for name in misspelt]
        if not misspelt:
            properties = _properties(text)
            expiry = properties.get("expires")
            words = [properties.get("public-key", ""), certificate.stem]
            yield str(certificate), words if expiry is None else [*words, expiry]


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(_read(path, *_NOT_WRITTEN).splitlines(), 1):
        words = line.split()
        # No key begins with "#": its first five characters would be more than four bytes.
        if words and not words[0].startswith("#"):
            yield f"{path}: line {number}", words


def _entry(source: str, words: list[str]) -> tuple[bytes, Entry]:
    if not 2 <= len(words) <= 3:
        raise ValueError(f"{'no name' if len(words) == 1 else 'too many words'}; expected KEY NAME [EXPIRY]")
    key, name, *expiry = words
    if any(looks_like_key(word) and not _NAME.fullmatch(word) for word in words[1:]):
        raise ValueError("a key stands where another word belongs; expected KEY NAME [EXPIRY]")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!a} is not a name; expected {_NAME_RULE}")
    return _public_key(key), Entry(name, _expiry(expiry[0]) if expiry else None, source)


def _public_key(text: str) -> bytes:
    if not text:
        raise ValueError("has no public-key; expected a certificate of `zqctl keygen`")
    try:
        return _key(text)
    except ValueError as error:
        raise ValueError(f"the key is {error}; expected the public half of a pair") from None


def _expiry(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
        # In UTC, because the year may be another one there, which datetime does not have.
        return when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!a} is not an expiry; expected {_EXPIRY_RULE}") from None


# New pairs


def write_pair(directory: Path, name: str) -> tuple[Path, Path, str]:
    """Write a new pair as NAME.key and NAME.key_secret, the secret with mode 0600; both paths, and the public key in Z85.

    Never writes over a file. UsageError where the name will not do, UnavailableError where the files cannot be written.
    """
    from nacl.bindings import crypto_box_keypair

    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!a} is not a name for a key; expected {_NAME_RULE}")
    public, secret = map(z85_encode, crypto_box_keypair())
    body = f'\nmetadata\n    name = "{name}"\ncurve\n    public-key = "{public}"\n'
    public_path, secret_path = directory / f"{name}.key", directory / f"{name}.key_secret"
    _write(secret_path, 0o600, f'{_SECRET_HEAD}{body}    secret-key = "{secret}"\n')
    try:
        _write(public_path, 0o644, _PUBLIC_HEAD + body)
    except UnavailableError:
        secret_path.unlink()
        raise
    return public_path, secret_path, public


def _write(path: Path, mode: int, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise UnavailableError(f"{path} exists, and is not written over") from None
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error.strerror}") from None
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:  # the disk is full: half a file is worse than none
        path.unlink()
        raise UnavailableError(f"cannot write {path}: {error.strerror}") from None


# Files


def locate(name: str) -> Path:
    """Where a setting's file lies; ConfigError where a credential's name stands and there are no credentials."""
    if "/" in name:
        return Path(name)
    directory = _credentials()
    if directory is None:
        wrong = f'{name}: there are no credentials; expected a path, such as "/etc/zqd/{name}"'
        by_hand = "CREDENTIALS_DIRECTORY=/run/credentials/zqd.service zqd --check-config"
        raise ConfigError([f"{wrong}; to check by hand what a service is given: {by_hand}"])
    return directory / name


def _credentials() -> Path | None:
    """The directory of those that systemd has given us."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(directory) if directory else None


def _properties(text: str) -> dict[str, str]:
    """Those of a certificate, without their quotes."""
    matches = map(_PROPERTY.fullmatch, text.splitlines())
    return {match[1]: match[2].strip("\"'") for match in matches if match}


def _read(path: Path, forbidden: int, remedy: str) -> str:
    """The text of a file none of whose mode bits is `forbidden`; ConfigError where it cannot be had."""
    try:
        # Opened first, so that what is checked is what is read; O_NONBLOCK, because opening a FIFO would wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError([f"{path}: is not a regular file; expected a file of keys"])
            _check_mode(path, status, forbidden, remedy)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(_LARGEST + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError([_unreadable(path, error)]) from None
    if len(content) > _LARGEST:
        raise ConfigError([f"{path}: larger than {_LARGEST >> 20} MiB; expected a file of keys"])
    return content.decode("utf-8-sig", "replace")  # what is no text is no key either


def _check_mode(path: Path, status: os.stat_result, forbidden: int, remedy: str) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & forbidden:
        what = "read" if forbidden & 0o044 else "written"
        raise ConfigError([f"{path}: can be {what} by others (mode {mode:04o}); expected `{remedy} {path}`"])


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read ({error.strerror}); expected a readable file"
