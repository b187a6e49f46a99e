"""Files of keys: where they lie, who else may get at them, what a certificate says.

A file is named by a path with a slash in it, or as a systemd credential, by its bare name ($CREDENTIALS_DIRECTORY,
systemd.exec(5)). Whoever can read our secret can be us, and whoever can write the list of keys can enter: files with such
modes are refused. Layer 2. Called by: `pair`, `authorized`.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from zqd.errors import ConfigError

NOT_WRITTEN = (0o022, "chmod go-w")
"""Mode bits that are refused where others must not write, and what mends it."""

_LARGEST = 4 << 20  # bytes of one file; more is not a list of keys but a wrong path (/dev/zero)
_PROPERTY = re.compile(r"\s*([a-z-]+)\s*=\s*(.*?)\s*")


def locate(name: str) -> Path:
    """Where a setting's file lies; ConfigError where a credential's name stands and there are no credentials."""
    if "/" in name:
        return Path(name)
    directory = credentials()
    if directory is None:
        wrong = f'{name}: there are no credentials; expected a path, such as "/etc/zqd/{name}"'
        by_hand = "CREDENTIALS_DIRECTORY=/run/credentials/zqd.service zqd --check-config"
        raise ConfigError([f"{wrong}; to check by hand what a service is given: {by_hand}"])
    return directory / name


def credentials() -> Path | None:
    """The directory of those that systemd has given us; None without."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(directory) if directory else None


def properties_of(text: str) -> dict[str, str]:
    """Those of a certificate, without their quotes."""
    matches = map(_PROPERTY.fullmatch, text.splitlines())
    return {match[1]: match[2].strip("\"'") for match in matches if match}


def read(path: Path, forbidden: int, remedy: str) -> str:
    """The text of a file none of whose mode bits is `forbidden`; ConfigError where it cannot be had."""
    try:
        # Opened first, so that what is checked is what is read; O_NONBLOCK, because opening a FIFO would wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError([f"{path}: is not a regular file; expected a file of keys"])
            check_mode(path, status, forbidden, remedy)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(_LARGEST + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError([unreadable(path, error)]) from None
    if len(content) > _LARGEST:
        raise ConfigError([f"{path}: larger than {_LARGEST >> 20} MiB; expected a file of keys"])
    return content.decode("utf-8-sig", "replace")  # what is no text is no key either


def check_mode(path: Path, status: os.stat_result, forbidden: int, remedy: str) -> None:
    """ConfigError, which tells the `remedy`, where one of the `forbidden` mode bits is set."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & forbidden:
        what = "read" if forbidden & 0o044 else "written"
        raise ConfigError([f"{path}: can be {what} by others (mode {mode:04o}); expected `{remedy} {path}`"])


def unreadable(path: Path, error: OSError) -> str:
    """What to say of it."""
    return f"{path}: cannot be read ({error.strerror}); expected a readable file"
