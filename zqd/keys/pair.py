"""Pairs of keys: our own out of a file, another's public half, and new ones.

Certificates have the format of `zmq.auth` and czmq: `public-key = "…"` and `secret-key = "…"`, each key in Z85. No secret
is in a repr, or in an error's text. PyNaCl is imported late: it takes 35 ms, and hardly anybody needs it. Layer 2.
Called by: `zqd.daemon`, `zqd.worker`, `zqd.ctl` (keygen), `authorized`, `connection`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from zqd.errors import ConfigError, UnavailableError, UsageError
from zqd.keys.files import NOT_WRITTEN, credentials, locate, properties_of, read
from zqd.keys.z85 import SIZE, key_of, looks_like_key, z85_encode

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,63}")
NAME_RULE = "up to 64 letters, digits and ._@:+-, the first one a letter or a digit"

_SECRET_HEAD = "# CURVE certificate: SECRET half. Nobody but its owner may read this file (zmq_curve(7)).\n"  # noqa: S105 - its first line
_PUBLIC_HEAD = "# CURVE certificate: public half, to be given to the other side (zmq_curve(7)).\n"


class KeyPair:
    """A permanent key pair, 32 bytes each."""

    __slots__ = ("public", "secret")

    def __init__(self, public: bytes, secret: bytes) -> None:
        self.public = public
        self.secret = secret

    def __repr__(self) -> str:
        return f"<KeyPair {z85_encode(self.public)}>"


def new_pair() -> KeyPair:
    """One that nobody has had before."""
    from nacl.bindings import crypto_box_keypair

    return KeyPair(*crypto_box_keypair())


def load_secret(name: str) -> KeyPair:
    """The pair in a `.key_secret` certificate, or of a secret key alone in Z85.

    `name` is a path with a slash or a credential's name. ConfigError with one line where it cannot be had.
    """
    from nacl.bindings import crypto_scalarmult_base

    path = locate(name)
    # A credential's directory keeps others out, and its mode may be that of an access control list.
    text = read(path, 0 if path.parent == credentials() else 0o077, "chmod 600")
    bare = len(text.split()) == 1
    properties = {} if bare else properties_of(text)
    secret_text = text.strip() if bare else properties.get("secret-key")
    if secret_text is None:
        raise ConfigError([f"{path}: has no secret-key; expected the .key_secret half of a certificate"])
    try:
        secret = key_of(secret_text)
    except ValueError as error:
        raise ConfigError([f"{path}: the secret key is {error}; expected a file of `zqctl keygen`"]) from None
    public = crypto_scalarmult_base(secret)
    if properties.get("public-key", z85_encode(public)) != z85_encode(public):
        raise ConfigError([f"{path}: public-key does not belong to secret-key; expected both of one pair"])
    return KeyPair(public, secret)


def load_public(text: str) -> bytes:
    """Another's public key: 40 characters of Z85, or the path of a certificate. ConfigError where it cannot be had."""
    try:
        return key_of(text)
    except ValueError as error:
        if looks_like_key(text):
            raise ConfigError([f"the key is {error}; expected one, or the path of a certificate"]) from None
    path = Path(text)  # no key: a file, then
    try:
        properties = properties_of(read(path, *NOT_WRITTEN))
    except ConfigError as error:
        raise ConfigError(
            [f"{problem}, or a key of {SIZE} characters" for problem in error.problems]
        ) from None
    try:
        return public_key(properties.get("public-key", ""))
    except ValueError as error:
        raise ConfigError([f"{path}: {error}"]) from None


def public_key(text: str) -> bytes:
    """The key that a certificate or a list has; ValueError, which does not repeat it."""
    if not text:
        raise ValueError("has no public-key; expected a certificate of `zqctl keygen`")
    try:
        return key_of(text)
    except ValueError as error:
        raise ValueError(f"the key is {error}; expected the public half of a pair") from None


def write_pair(directory: Path, name: str) -> tuple[Path, Path, str]:
    """Write a new pair as NAME.key and NAME.key_secret, the secret with mode 0600; both paths, and the public key in Z85.

    Never writes over a file. UsageError where the name will not do, UnavailableError where the files cannot be written.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!a} is not a name for a key; expected {NAME_RULE}")
    pair = new_pair()
    public, secret = z85_encode(pair.public), z85_encode(pair.secret)
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
