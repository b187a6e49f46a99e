"""Reading the configuration's files: which there are, and what makes one unreadable.

Gives trees as tomllib makes them; what the keys mean is `zqd.config.draft`'s and `zqd.config.flat`'s to say. Called
by `zqd.config.loader` and `zqd.config.flat`.
"""

from __future__ import annotations

import os.path
import re
import tomllib
from pathlib import Path

from zqd.config.values import shown
from zqd.keys.z85 import looks_like_key

DEFAULT_PATH = Path("/etc/zqd/zqd.toml")
"""The file that is read when no other is named; it need not exist."""

DROP_IN_DIRECTORY = "zqd.toml.d"
"""Beside the file; its *.toml (dot-files apart) are read after it, in name order."""

_LARGEST = 4 << 20  # bytes of one file; more is no configuration but a wrong path (/dev/zero)
_POSITION = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


def read_files(path: Path | None, problems: list[str]) -> list[tuple[str, dict[str, object]]]:
    """(file name, tree) of `path`, or of DEFAULT_PATH if None, and of the drop-ins, in order of merging.

    A file that cannot be used is left out, and a line about it is added to `problems`.
    """
    main = DEFAULT_PATH if path is None else path
    trees = [(main, read_file(main, problems, optional=path is None))]
    if path is None or os.path.isfile(main):
        drop_ins = _drop_ins(main.with_name(DROP_IN_DIRECTORY), problems)
        trees += [(drop_in, read_file(drop_in, problems)) for drop_in in drop_ins]
    return [(str(file), tree) for file, tree in trees if tree is not None]


def read_file(path: Path, problems: list[str], *, optional: bool = False) -> dict[str, object] | None:
    """The tree of one file, or None and a line in `problems`; None alone if it is `optional` and does not exist."""
    try:
        content = _read(path)
    except (OSError, ValueError) as error:
        if not (optional and isinstance(error, FileNotFoundError)):
            problems.append(_unreadable(path, error))
        return None
    return _parse(path, content, problems)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST + 1)


def _drop_ins(directory: Path, problems: list[str]) -> list[Path]:
    try:
        return sorted(p for p in directory.iterdir() if p.suffix == ".toml" and not p.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(_unreadable(directory, error, "a readable directory"))
        return []


def _unreadable(path: Path, error: OSError | ValueError, expected: str = "a readable file") -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{path}: cannot be read ({reason}); expected {expected}"


def _parse(path: Path, content: bytes, problems: list[str]) -> dict[str, object] | None:
    if len(content) > _LARGEST:
        problems.append(f"{path}: larger than {_LARGEST >> 20} MiB; expected a TOML file")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        problems.append(
            f"{path}: line {line}: the byte 0x{byte:02x} is not UTF-8; expected a TOML file in UTF-8"
        )
        return None
    try:
        return tomllib.loads(text)
    except RecursionError:
        problems.append(f"{path}: nested too deeply; expected [queues.NAME] tables of plain values")
    except ValueError as error:  # TOMLDecodeError, and int()'s refusal of thousands of digits
        problems.append(f"{path}: {_syntax_problem(str(error), text)}")
    return None


def _syntax_problem(message: str, text: str) -> str:
    match = _POSITION.fullmatch(message)
    if match is None:
        return f"not valid TOML: {message}"
    # Lines as tomllib counts them: by "\n" alone.
    lines = text.split("\n")
    number = int(match[2]) if match[2] else len(lines)
    where = f"line {number}, column {match[3]}" if match[2] else f"line {number} (end of file)"
    excerpt = lines[number - 1].strip() if number <= len(lines) else ""
    # A secret that somebody took for a value, and wrote without quotes, must not get into a log.
    private = "secret" in excerpt.lower() or any(map(looks_like_key, excerpt.split()))
    hint = f" in {shown(excerpt)}" if excerpt and not private else ""
    return f"{where}: not valid TOML: {match[1]}{hint}; expected KEY = VALUE, strings in double quotes"
