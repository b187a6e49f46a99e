"""The broker's configuration while it is put together: what its sources say of the daemon and of each queue.

Each source (file, `--set`, flag) is checked by itself, so that a bad value is reported with its place
even if a later source overrides it. What is right is kept by dotted key; merging is then overwriting: tables
merge, scalars and lists replace. What only the whole can tell (missing endpoints, one endpoint twice)
is `zqd.config.loader`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from zqd.config.findings import Findings, Reading, flag_name, from_text, from_toml, printable, unknown_key
from zqd.config.settings import DAEMON_SETTINGS, QUEUE_SETTINGS, closest, did_you_mean
from zqd.config.values import shown

FLAGS = ("frontend", "backend", "control", "log_level", "log_format", "allow_unauthenticated")
"""The keys that flags can set; `frontend` and `backend` are those of the queue `default`."""

_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Draft(Findings):
    """What the sources have said so far; `queues` has those that were named, each with who named it first."""

    def __init__(self) -> None:
        super().__init__()
        self.queues: dict[str, str] = {}

    def add_tree(self, file: str, tree: Mapping[str, object]) -> None:
        """Takes over one file's content."""
        for key, value in tree.items():
            if key == "queues":
                self._add_queues(file, value)
            elif key in DAEMON_SETTINGS:
                self.put(file, key, f"{file}: {key}", DAEMON_SETTINGS[key], from_toml(value))
            elif isinstance(value, dict) and QUEUE_SETTINGS.keys() & value.keys():
                self.problems.append(
                    f"{file}: {printable(key)}: has the keys of a queue; expected it as [queues.{printable(key)}]"
                )
            else:
                self.problems.append(f"{file}: {printable(key)}: {_unknown_daemon_key(key)}")

    def add_set(self, argument: str) -> None:
        """Takes over one `--set KEY=VALUE`."""
        split = self.split_set(argument, "queues.default.max_attempts=5")
        if split is None:
            return
        path, text = split
        where = f"--set {printable(path)}"
        first, *rest = path.split(".")
        if first != "queues":
            row = DAEMON_SETTINGS.get(path)
            if row is None:
                self.problems.append(f"{where}: {_unknown_daemon_key(path)}")
            else:
                self.put("--set", path, where, row, from_text(text))
            return
        if len(rest) < 2:
            self.problems.append(f"{where}: is a table; expected one of its keys, queues.NAME.KEY=VALUE")
            return
        name, key = rest[0], ".".join(rest[1:])
        if self._named("--set", where, name):
            self._put_queue("--set", name, key, where, from_text(text))

    def add_flag(self, key: str, value: object) -> None:
        """Takes over the flag of `key`, one of FLAGS: text, a list of texts, or a truth value."""
        flag = flag_name(key)
        row = DAEMON_SETTINGS.get(key) or QUEUE_SETTINGS[key]
        if row.scope == "queue":
            self.queues.setdefault("default", flag)
        self.put(flag, row.path("default"), flag, row, from_toml(value))

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
                    self._put_queue(file, name, key, f"{where}.{printable(key)}", from_toml(value))

    def _named(self, source: str, where: str, name: str) -> bool:
        if _QUEUE_NAME.fullmatch(name):
            self.queues.setdefault(name, source)
            return True
        self.problems.append(
            f"{where}: {shown(name)} is no queue name; expected 1 to 64 letters, digits, _ or -, "
            "the first a letter or digit"
        )
        return False

    def _put_queue(self, source: str, name: str, key: str, where: str, reading: Reading) -> None:
        row = QUEUE_SETTINGS.get(key)
        if row is None:
            self.problems.append(f"{where}: {_unknown_queue_key(key)}")
        else:
            self.put(source, row.path(name), where, row, reading)


def _unknown_daemon_key(key: str) -> str:
    if key in QUEUE_SETTINGS:
        return f"is a key of a queue; expected it as queues.NAME.{key} (did you mean queues.default.{key}?)"
    known = [*DAEMON_SETTINGS, "queues"]
    near = closest(key, [*known, *QUEUE_SETTINGS])
    if near in QUEUE_SETTINGS:
        return f"unknown key (did you mean queues.default.{near}?); expected one of {', '.join(known)}"
    return unknown_key(key, known)


def _unknown_queue_key(key: str) -> str:
    if key in DAEMON_SETTINGS:
        return f"is a key of the daemon, not of a queue; expected {key} at the top, before the first [table]"
    return f"unknown key{did_you_mean(key, QUEUE_SETTINGS)}; expected a key of a queue"
