from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqd.config import (
    DAEMON_SETTINGS,
    QUEUE_SETTINGS,
    SETTINGS,
    Change,
    Config,
    QueueConfig,
    Setting,
    compare,
    files,
    load,
    settle,
)
from zqd.config.values import Value

JOBS = ("queues.jobs.frontend=tcp://127.0.0.1:1", "queues.jobs.backend=tcp://127.0.0.1:2")
MORE = ("queues.more.frontend=tcp://127.0.0.1:3", "queues.more.backend=tcp://127.0.0.1:4")


@pytest.fixture(autouse=True)
def no_default_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a configuration."""
    monkeypatch.setattr(files, "DEFAULT_PATH", tmp_path_factory.getbasetemp() / "none.toml")


def configured(*sets: str) -> Config:
    """A configuration."""
    return load(None, sets)


def told(old: Config, new: Config) -> list[tuple[str, str, str, bool, str | None]]:
    """What `compare` tells of keys."""
    return [
        (change.key, change.old, change.new, change.reloadable, change.queue)
        for change in compare(old, new).values
    ]


def test_keys_of_the_daemon() -> None:
    """A key of the daemon is told with both values as TOML, and whether it can be taken."""
    old = configured("log_level=debug", "control=ipc:///a")
    assert told(old, configured("log_format=json")) == [
        ("control", '"ipc:///a"', "not set", False, None),
        ("log_level", '"debug"', '"info"', True, None),
        ("log_format", '"auto"', '"json"', False, None),
    ]


def test_keys_of_a_queue() -> None:
    """A key of a queue is told with its dotted path and its queue, for each queue that both have."""
    old = configured(*JOBS, *MORE)
    new = configured(
        *MORE,
        *JOBS,
        "queues.jobs.queue_timeout=90",
        "queues.more.socket_mode=0660",
        "queues.more.backend=ipc:///b",
    )
    assert told(old, new) == [
        ("queues.more.backend", '["tcp://127.0.0.1:4"]', '["ipc:///b"]', True, "more"),
        ("queues.more.socket_mode", "not set", '"0660"', True, "more"),
        ("queues.jobs.queue_timeout", '"0s"', '"90s"', True, "jobs"),
    ]
    assert compare(old, new).values[2].setting is QUEUE_SETTINGS["queue_timeout"]


def test_queues_that_come_and_go() -> None:
    """A queue that only one has is told whole, none of its keys by themselves."""
    old, new = configured(*JOBS), configured(*MORE)
    changes = compare(old, new)
    assert (changes.values, changes.added, changes.removed) == ((), new.queues, old.queues)


def test_order_of_queues_is_no_change() -> None:
    """Queues that change places change nothing."""
    changes = compare(configured(*JOBS, *MORE), configured(*MORE, *JOBS))
    assert (changes.values, changes.added, changes.removed) == ((), (), ())


def test_sources_are_no_change() -> None:
    """A value that now stands elsewhere is the same value."""
    assert told(configured(), configured("log_level=info", "queues.default.prefetch=1")) == []


def test_settled_values_keep_their_sources() -> None:
    """A value that is kept says where it came from, and one that is taken where it comes from."""
    old = configured("log_format=json")
    settled = settle(old, load(None, [], {"log_level": "debug"}))
    assert (settled.log_format, settled.sources["log_format"]) == ("json", "--set")
    assert (settled.log_level, settled.sources["log_level"]) == ("debug", "--log-level")


def test_what_waits_for_a_restart_is_told_again() -> None:
    """A second reload of the same file tells once more what needs a restart, and nothing else."""
    old, new = configured(), configured("log_target=syslog", "log_level=error")
    (change,) = compare(settle(old, new), new).values
    assert change.key == "log_target"
    assert compare(settle(old, new), old).values[0].key == "log_level"


def test_settled_keys_of_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue's key that needs a restart is kept for that queue alone, whatever else of it is taken."""
    monkeypatch.setitem(
        QUEUE_SETTINGS, "prefetch", dataclasses.replace(QUEUE_SETTINGS["prefetch"], reloadable=False)
    )
    old = configured(*JOBS, *MORE, "queues.jobs.prefetch=2", "queues.more.prefetch=3")
    new = configured(
        *JOBS, *MORE, "queues.jobs.prefetch=9", "queues.more.prefetch=3", "queues.jobs.max_attempts=7"
    )
    jobs, more = settle(old, new).queues
    assert (jobs.settings.prefetch, jobs.settings.max_attempts, more.settings.prefetch) == (2, 7, 3)


SAMPLES = {
    "duration": ["0", "5s"],
    "size": ["1KiB", "1MiB"],
    "whole number": ["1", "2"],
    "auto or whole number": ["auto", "2"],
    "boolean": ["true", "false"],
    "endpoint": ["ipc:///a", "ipc:///b"],
    "list of endpoints": ["ipc:///a", "ipc:///b,ipc:///c"],
    "name or number": ["", "a"],
    "file mode": ["0600", "0660"],
    "log target": ["stderr", "/log"],
    "string": ["", "a"],
    "file with a key": ["", "a"],
    "file or directory of keys": ["", "a"],
    "list of networks": ["", "10.0.0.0/8"],
}


def some_values(rows: Mapping[str, Setting]) -> st.SearchStrategy[dict[str, Value]]:
    """A value for each row: the default, but for up to five."""
    pairs = [
        (key, row.parse_text(text))
        for key, row in rows.items()
        for text in row.choices or SAMPLES[row.kind.name]
    ]
    defaults = {key: row.default for key, row in rows.items()}
    return st.lists(st.sampled_from(pairs), max_size=5).map(lambda changed: defaults | dict(changed))


queues = st.builds(QueueConfig.of, st.sampled_from("abc"), some_values(QUEUE_SETTINGS))


def config_of(values: Mapping[str, Any], found: Sequence[QueueConfig]) -> Config:
    """A configuration, right or wrong as a whole, with the source "mine" for each value."""
    paths = {row.path(queue.name) for row in SETTINGS for queue in found} | set(DAEMON_SETTINGS)
    return Config(queues=tuple(found), sources=dict.fromkeys(paths, "mine"), **values)


configs = st.builds(
    config_of,
    some_values(DAEMON_SETTINGS),
    st.lists(queues, unique_by=lambda queue: queue.name, max_size=3),
)


def with_change(config: Config, change: Change, new: Config) -> Config:
    """`config` with that value of `new`."""
    key = change.setting.key
    if change.queue is None:
        value: Any = new.value(key)
        return dataclasses.replace(config, **{key: value})
    (source,) = (queue for queue in new.queues if queue.name == change.queue)
    changed = [
        QueueConfig.of(queue.name, {k: (source if k == key else queue).value(k) for k in QUEUE_SETTINGS})
        if queue.name == change.queue
        else queue
        for queue in config.queues
    ]
    return dataclasses.replace(config, queues=tuple(changed))


@given(configs)
def test_same(config: Config) -> None:
    """Between a configuration and itself nothing differs, and it settles to itself."""
    changes = compare(config, config)
    assert (changes.values, changes.added, changes.removed) == ((), (), ())
    assert settle(config, config) == config


@given(configs, configs)
def test_changes_are_complete(old: Config, new: Config) -> None:
    """Whoever applies all that is told to the old configuration has the new one."""
    changes = compare(old, new)
    result = old
    for change in changes.values:
        assert change.old != change.new
        result = with_change(result, change, new)
    kept = [queue for queue in result.queues if queue not in changes.removed]
    by_name = {queue.name: queue for queue in (*kept, *changes.added)}
    result = dataclasses.replace(result, queues=tuple(by_name[queue.name] for queue in new.queues))
    assert set(by_name) == {queue.name for queue in new.queues}
    assert result == new


@given(configs, configs)
def test_settling_takes_what_can_be_taken(old: Config, new: Config) -> None:
    """From the old to the settled configuration is all that is reloadable, from there to the new one all else."""
    changes, settled = compare(old, new), settle(old, new)
    taken, waiting = compare(old, settled), compare(settled, new)
    assert taken.values == tuple(change for change in changes.values if change.reloadable)
    assert waiting.values == tuple(change for change in changes.values if not change.reloadable)
    assert (taken.added, taken.removed) == (changes.added, changes.removed)
    assert (waiting.added, waiting.removed) == ((), ())
