"""What differs between two configurations, and what of it a running daemon can take.

Called by the daemon when it reloads. Pure: knows no file and no socket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from zqd.config.result import Config, QueueConfig
from zqd.config.settings import DAEMON_SETTINGS, QUEUE_SETTINGS, Setting


@dataclass(frozen=True, slots=True)
class Change:
    """One key with another value: its dotted path, both values as TOML ("not set" for None), its row, and whose it is.

    `queue` is None for a key of the daemon. Without `reloadable` only a restart takes the new value.
    """

    key: str
    old: str
    new: str
    setting: Setting
    queue: str | None

    @property
    def reloadable(self) -> bool:
        """Whether a running daemon takes the new value."""
        return self.setting.reloadable


@dataclass(frozen=True, slots=True)
class Changes:
    """All that differs: keys of the daemon and of queues that both have, queues that came, queues that went."""

    values: tuple[Change, ...]
    added: tuple[QueueConfig, ...]
    removed: tuple[QueueConfig, ...]


def compare(old: Config, new: Config) -> Changes:
    """What `new` says otherwise than `old`, keys in the order of the table, queues in that of `new`."""
    values = list(_differences(DAEMON_SETTINGS, old, new, None))
    before = {queue.name: queue for queue in old.queues}
    after = {queue.name: queue for queue in new.queues}
    for name, queue in after.items():
        if name in before:
            values += _differences(QUEUE_SETTINGS, before[name], queue, name)
    return Changes(
        values=tuple(values),
        added=tuple(queue for name, queue in after.items() if name not in before),
        removed=tuple(queue for name, queue in before.items() if name not in after),
    )


def settle(old: Config, new: Config) -> Config:
    """What is in effect after a daemon that runs `old` took `new`: `new`, but what needs a restart is as in `old`.

    It is what the next reload compares with, so that what still waits for a restart is told again.
    """
    kept = [change for change in compare(old, new).values if not change.reloadable]
    daemon: dict[str, Any] = {
        change.setting.key: old.value(change.setting.key) for change in kept if change.queue is None
    }
    before = {queue.name: queue for queue in old.queues}
    queues = []
    for queue in new.queues:
        values = {key: queue.value(key) for key in QUEUE_SETTINGS}
        for change in kept:
            if change.queue == queue.name:
                values[change.setting.key] = before[queue.name].value(change.setting.key)
        queues.append(QueueConfig.of(queue.name, values))
    sources = {**new.sources, **{change.key: old.sources[change.key] for change in kept}}
    return replace(new, queues=tuple(queues), sources=MappingProxyType(sources), **daemon)


def _differences(
    rows: Mapping[str, Setting], old: Config | QueueConfig, new: Config | QueueConfig, queue: str | None
) -> Iterator[Change]:
    for key, row in rows.items():
        before, after = old.value(key), new.value(key)
        if before != after:
            yield Change(row.path(queue or ""), row.to_toml(before), row.to_toml(after), row, queue)
