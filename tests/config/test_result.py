import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqd.config import QUEUE_SETTINGS, Config, QueueConfig, describe, files, load
from zqd.config.settings import DAEMON_SETTINGS, SOCKET_KEYS
from zqd.core.settings import QueueSettings


@pytest.fixture(autouse=True)
def no_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a configuration."""
    monkeypatch.setattr(files, "DEFAULT_PATH", tmp_path / "none.toml")


def reloaded(config: Config, directory: Path) -> Config:
    """What the description of `config` loads to."""
    path = directory / "described.toml"
    path.write_text(describe(config))
    return load(path)


def test_description_names_values_and_sources(tmp_path: Path) -> None:
    """The description has every value, as people write it, with its source behind it."""
    lines = describe(load(None, ["queues.default.queue_timeout=90"], {"log_level": "debug"})).splitlines()
    words = [line.split() for line in lines]
    assert ["log_level", "=", '"debug"', "#", "--log-level"] in words
    assert ["queue_timeout", "=", '"90s"', "#", "--set"] in words
    assert ["max_message_size", "=", '"128MiB"', "#", "default"] in words
    assert ["frontend", "=", '["tcp://127.0.0.1:5559"]', "#", "default"] in words
    assert ["#", "socket_mode", "is", "not", "set", "#", "default"] in words
    keys = {row[1] if row[0] == "#" else row[0] for row in words if row}
    assert keys == {*DAEMON_SETTINGS, *QUEUE_SETTINGS, "[queues.default]"}


def test_default_description_loads_again(tmp_path: Path) -> None:
    """The description of the defaults loads to the defaults."""
    assert reloaded(load(), tmp_path) == load()


def test_description_loads_again(tmp_path: Path) -> None:
    """The description of a full configuration loads to the same configuration."""
    config = load(
        None,
        [
            "queues.jobs.frontend=tcp://*:1,ipc:///run/a b\\c'd.sock",
            "queues.jobs.backend=tcp://[::1]:2",
            "queues.jobs.request_timeout=1234ms",
            "queues.jobs.max_queued_bytes=1234567",
            "queues.default.on_failure=drop",
            "queues.jobs.socket_mode=0620",
            "queues.jobs.socket_user=zqd",
            "queues.jobs.socket_group=33",
            "control=ipc:///run/control.sock",
            "status=ipc:///run/status",
            "events=ipc:///run/events",
            "control_group=adm",
            'log_target=/var/log/zqd "1".log',
        ],
        {"allow_unauthenticated": True, "log_format": "json"},
    )
    assert reloaded(config, tmp_path) == config


numbers = {
    row.key: st.integers(int(row.minimum), int(row.maximum or 0))
    if row.kind.unit != "seconds"
    else st.floats(row.minimum, row.maximum)
    for row in QUEUE_SETTINGS.values()
    if row.minimum is not None and row.key not in SOCKET_KEYS
}


@given(st.builds(QueueSettings, **numbers))
def test_any_numbers_load_again(tmp_path_factory: pytest.TempPathFactory, settings: QueueSettings) -> None:
    """Whatever numbers a queue has, its description loads to the same numbers."""
    config = load()
    queue = QueueConfig("default", config.queues[0].frontend, config.queues[0].backend, settings)
    config = dataclasses.replace(config, queues=(queue,))
    assert reloaded(config, tmp_path_factory.getbasetemp()) == config


def test_source_that_a_comment_cannot_hold(tmp_path: Path) -> None:
    """A file name with a line break in it does not break the description."""
    path = tmp_path / "a\nb.toml"
    path.write_text('log_level = "debug"')
    config = load(path)
    assert reloaded(config, tmp_path) == config


def test_equal_whatever_the_source(tmp_path: Path) -> None:
    """Two configurations with the same values are equal, wherever the values came from."""
    assert load(None, ["log_level=info"]) == load()


def test_results_are_frozen() -> None:
    """Nobody changes a configuration in passing."""
    config = load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.log_level = "debug"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.sources["log_level"] = "me"  # type: ignore[index]
