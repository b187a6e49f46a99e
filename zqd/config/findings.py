"""What the sources of a configuration have said so far: checked values, the last source winning, and all problems.

The part of reading a configuration that does not depend on its shape: `zqd.config.draft` builds the broker's on it,
with its tables of queues, `zqd.config.flat` that of a program with keys alone. Knows no key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zqd.config.settings import Setting, did_you_mean
from zqd.config.values import Value, shown
from zqd.keys.z85 import looks_like_key

Reading = Callable[[Setting], Value]
"""A value as a source wrote it, for the row that says what it means. Raises ValueError as `Setting.parse` does."""


class Findings:
    """Values and problems, gathered source by source.

    `values` and `sources` have the dotted keys that were set; `rejected` the dotted keys of which some source had a
    bad value; `problems` one line for everything that is wrong.
    """

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.sources: dict[str, str] = {}
        self.rejected: set[str] = set()
        self.problems: list[str] = []

    def put(self, source: str, path: str, where: str, row: Setting, reading: Reading) -> None:
        """Take the value of dotted key `path`, which is of `row`, or note at `where` why it cannot be."""
        try:
            self.values[path] = reading(row)
            self.sources[path] = source
        except ValueError as error:
            self.rejected.add(path)
            self.problems.append(f"{where}: {error}")

    def split_set(self, argument: str, example: str) -> tuple[str, str] | None:
        """KEY and VALUE of one `--set KEY=VALUE`, or None and a problem that shows `example`."""
        path, equals, text = argument.partition("=")
        path = path.strip()
        if equals and path and not (" " in path and "secret" in path):
            return path, text.strip()
        # Without a "=" where it belongs a secret may stand anywhere.
        told = "" if "secret" in argument or looks_like_key(argument) else f" {printable(argument)}"
        self.problems.append(
            f"--set{told}: no {'key' if equals else 'value'}; expected KEY=VALUE, such as {example}"
        )
        return None

    def mentions(self, path: str) -> bool:
        """Whether any source gave dotted key `path` a value, right or wrong."""
        return path in self.values or path in self.rejected

    def where(self, path: str) -> str:
        """Where the value of dotted key `path` stands, as a problem's line begins."""
        source = self.sources.get(path, "default")
        if source == "default":
            return f"{path} (default)"
        if source == "--set":
            return f"--set {path}"
        return f"{source} ({path})" if source.startswith("--") else f"{source}: {path}"


def flag_name(key: str) -> str:
    """The flag that sets `key`."""
    return "--" + key.replace("_", "-")


def is_given(value: object) -> bool:
    """Whether a flag was on the command line: not with None, False or an empty list."""
    return not (value is None or value is False or value in ([], ()))


def printable(key: str) -> str:
    """A key as a message repeats it: bare if it is readable, else short and quoted."""
    return key if key and key.isprintable() and len(key) <= 100 else shown(key)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The clause about a key that is none of `known`."""
    known = list(known)
    return f"unknown key{did_you_mean(key, known)}; expected one of {', '.join(known)}"


def from_toml(value: object) -> Reading:
    """A value that TOML gave."""
    return lambda row: row.parse(value)


def from_text(text: str) -> Reading:
    """The bare text of `--set`."""
    return lambda row: row.parse_text(text)
