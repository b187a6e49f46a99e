"""A configuration while it is put together: checked values, the last source winning, and all problems.

Each source (file, `--set`, flag) is checked by itself, so that a bad value is reported with its place
even if a later source overrides it. What is right is kept by dotted key; merging is then overwriting: tables
merge, scalars and lists replace. What only the whole can tell (missing endpoints, one endpoint twice)
is `zqd.config.loader`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from zqd.config.settings import DAEMON_SETTINGS, QUEUE_SETTINGS, Setting, closest, did_you_mean
from zqd.config.values import Value, shown

FLAGS = ("frontend", "backend", "control", "log_level", "log_format", "allow_unauthenticated")
"""The keys that flags can set; `frontend` and `backend` are those of the queue `default`."""

_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_T = TypeVar("_T")


class Draft:
    """What the sources have said so far.

    `values` and `sources` have the dotted keys that were set, `queues` the queues that were named, each with the
    source that named it first, `rejected` the dotted keys of which some source had a bad value.
    """

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.sources: dict[str, str] = {}
        self.queues: dict[str, str] = {}
        self.rejected: set[str] = set()
        self.problems: list[str] = []

    def add_tree(self, file: str, tree: Mapping[str, object]) -> None:
        """Takes over one file's content."""
        for key, value in tree.items():
            if key == "queues":
                self._add_queues(file, value)
            elif key in DAEMON_SETTINGS:
                self._put(file, key, f"{file}: {key}", DAEMON_SETTINGS[key].parse, value)
            else:
                self.problems.append(f"{file}: {printable(key)}: {_unknown_daemon_key(key)}")

    def add_set(self, argument: str) -> None:
        """Takes over one `--set KEY=VALUE`."""
        path, equals, text = argument.partition("=")
        path = path.strip()
        where = f"--set {printable(path)}"
        if not equals or not path:
            self.problems.append(
                f"--set {printable(argument)}: no {'key' if equals else 'value'}; expected KEY=VALUE, "
                "such as queues.default.max_attempts=5"
            )
            return
        first, *rest = path.split(".")
        if first != "queues":
            row = DAEMON_SETTINGS.get(path)
            if row is None:
                self.problems.append(f"{where}: {_unknown_daemon_key(path)}")
            else:
                self._put("--set", path, where, row.parse_text, text.strip())
            return
        if len(rest) < 2:
            self.problems.append(f"{where}: is a table; expected one of its keys, queues.NAME.KEY=VALUE")
            return
        name, key = rest[0], ".".join(rest[1:])
        if self._named("--set", where, name):
            self._put_queue("--set", name, key, where, lambda row: row.parse_text(text.strip()))

    def add_flag(self, key: str, value: object) -> None:
        """Takes over the flag of `key`, one of FLAGS: text, a list of texts, or a truth value."""
        flag = flag_name(key)
        row = DAEMON_SETTINGS.get(key) or QUEUE_SETTINGS[key]
        if row.scope == "queue":
            self.queues.setdefault("default", flag)
        self._put(flag, row.path("default"), flag, row.parse, value)

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

    def _add_queues(self, file: str, queues: object) -> None:
        if not isinstance(queues, dict):
            self.problems.append(
                f"{file}: queues: {shown(queues)} where tables are expected; expected [queues.NAME]"
            )
            return
        for name, table in queues.items():
            where = f"{file}: queues.{printable(name)}"
            if not isinstance(table, dict):
                hint = f" (did you mean queues.default.{name}?)" if name in QUEUE_SETTINGS else ""
                self.problems.append(
                    f"{where}: {shown(table)} where a table is expected{hint}; expected [queues.NAME] with its keys"
                )
            elif self._named(file, where, name):
                for key, value in table.items():
                    self._put_queue(file, name, key, f"{where}.{printable(key)}", _reader(value))

    def _named(self, source: str, where: str, name: str) -> bool:
        if _QUEUE_NAME.fullmatch(name):
            self.queues.setdefault(name, source)
            return True
        self.problems.append(
            f"{where}: {shown(name)} is no queue name; expected 1 to 64 letters, digits, _ or -, "
            "the first a letter or digit"
        )
        return False

    def _put_queue(
        self, source: str, name: str, key: str, where: str, read: Callable[[Setting], Value]
    ) -> None:
        row = QUEUE_SETTINGS.get(key)
        if row is None:
            self.problems.append(f"{where}: {_unknown_queue_key(key)}")
        else:
            self._put(source, row.path(name), where, read, row)

    def _put(self, source: str, path: str, where: str, read: Callable[[_T], Value], raw: _T) -> None:
        try:
            self.values[path] = read(raw)
            self.sources[path] = source
        except ValueError as error:
            self.rejected.add(path)
            self.problems.append(f"{where}: {error}")


def flag_name(key: str) -> str:
    """The flag that sets `key`."""
    return "--" + key.replace("_", "-")


def printable(key: str) -> str:
    """A key as a message repeats it: bare if it is readable, else short and quoted."""
    return key if key and key.isprintable() and len(key) <= 100 else shown(key)


def _reader(value: object) -> Callable[[Setting], Value]:
    return lambda row: row.parse(value)


def _unknown_daemon_key(key: str) -> str:
    if key in QUEUE_SETTINGS:
        return f"is a key of a queue; expected it as queues.NAME.{key} (did you mean queues.default.{key}?)"
    known = [*DAEMON_SETTINGS, "queues"]
    near = closest(key, [*known, *QUEUE_SETTINGS])
    if near in QUEUE_SETTINGS:
        return f"unknown key (did you mean queues.default.{near}?); expected one of {', '.join(known)}"
    return f"unknown key{did_you_mean(key, known)}; expected one of {', '.join(known)}"


def _unknown_queue_key(key: str) -> str:
    if key in DAEMON_SETTINGS:
        return f"is a key of the daemon, not of a queue; expected {key} at the top, before the first [table]"
    return f"unknown key{did_you_mean(key, QUEUE_SETTINGS)}; expected a key of a queue"
