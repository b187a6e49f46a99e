from dataclasses import fields, replace

import pytest

from zqd.config import Config, QueueConfig
from zqd.config.kinds import TEXT, WORDS, Kind
from zqd.config.settings import DAEMON_SETTINGS, QUEUE_SETTINGS, SETTINGS, SOCKET_KEYS, Setting
from zqd.core.settings import QueueSettings

every_setting = pytest.mark.parametrize("row", SETTINGS, ids=lambda row: f"{row.scope}-{row.key}")


def test_rows_agree_with_the_fields_of_a_queue() -> None:
    """The queue's rows are those of its sockets and the fields of QueueSettings, in their order, and no others."""
    assert list(QUEUE_SETTINGS) == [*SOCKET_KEYS, *(field.name for field in fields(QueueSettings))]


def test_rows_agree_with_the_fields_of_the_results() -> None:
    """What is loaded has a field for every row, and none that no row fills."""
    assert {field.name for field in fields(QueueConfig)} == {"name", "settings", *SOCKET_KEYS}
    assert {field.name for field in fields(Config)} == {"queues", "sources", "files", *DAEMON_SETTINGS}


def test_defaults_agree_with_the_fields_of_a_queues_sockets() -> None:
    """A queue that is made without a word on its sockets' owners has what the rows say."""
    queue = QueueConfig("a", (), (), QueueSettings())
    assert {key: queue.value(key) for key in SOCKET_KEYS if key.startswith("socket")} == {
        key: QUEUE_SETTINGS[key].default for key in SOCKET_KEYS if key.startswith("socket")
    }


def test_defaults_agree_with_the_fields_of_a_queue() -> None:
    """The queue's rows have the defaults of QueueSettings."""
    settings = QueueSettings()
    for field in fields(QueueSettings):
        assert QUEUE_SETTINGS[field.name].default == getattr(settings, field.name)


def test_values_have_the_type_of_their_field() -> None:
    """A setting's kind makes values of its field's type."""
    settings = QueueSettings()
    for field in fields(QueueSettings):
        row = QUEUE_SETTINGS[field.name]
        assert type(row.kind.parse_text(str(row.default))) is type(getattr(settings, field.name))


def test_keys_are_unique() -> None:
    """No two rows of a scope share a key, and no key names a queue's and the daemon's setting."""
    assert len(DAEMON_SETTINGS) + len(QUEUE_SETTINGS) == len(SETTINGS)
    assert not set(DAEMON_SETTINGS) & set(QUEUE_SETTINGS)


@every_setting
def test_default_is_acceptable(row: Setting) -> None:
    """A default lies within its own bounds."""
    if row.default is not None:
        assert row.parse(row.default) == row.default


@every_setting
def test_help_is_one_sentence(row: Setting) -> None:
    """Every setting says in a sentence what it is for."""
    assert row.help[0].isupper()
    assert row.help.endswith(".")


@every_setting
def test_numbers_are_bounded(row: Setting) -> None:
    """Every number has both bounds, every choice its choices."""
    if row.kind.name in ("duration", "size", "whole number"):
        assert row.minimum is not None
        assert row.maximum is not None
    assert bool(row.choices) == (row.kind.name == "choice")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("prefetch", "0"),
        ("prefetch", "1025"),
        ("max_attempts", "0"),
        ("max_attempts", "1001"),
        ("max_message_size", "1023"),
        ("drain_timeout", "8d"),
        ("queue_timeout", "-1"),
        ("max_queued", "-1"),
        ("max_unsent", "-1KiB"),
    ],
)
def test_out_of_bounds(key: str, text: str) -> None:
    """A number past a bound is refused with both bounds."""
    with pytest.raises(ValueError, match=r"is too (small|large); expected .*, from .* to "):
        QUEUE_SETTINGS[key].parse_text(text)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("prefetch", "1"),
        ("prefetch", "1024"),
        ("max_attempts", "1000"),
        ("max_message_size", "1KiB"),
        ("drain_timeout", "7d"),
        ("queue_timeout", "0"),
    ],
)
def test_on_the_bound(key: str, text: str) -> None:
    """Bounds are inclusive."""
    QUEUE_SETTINGS[key].parse_text(text)


def test_message_speaks_the_unit() -> None:
    """A message gives value and bounds in the units that people write."""
    with pytest.raises(ValueError, match=r"8d is too large; expected a duration .*, from 0s to 7d"):
        QUEUE_SETTINGS["drain_timeout"].parse(8 * 86400)


def test_prefetch_is_a_number_or_auto() -> None:
    """The prefetch that sizes itself is a word; any other word is none."""
    row = QUEUE_SETTINGS["prefetch"]
    assert row.parse("auto") == row.parse_text(" auto ") == "auto"
    assert row.to_toml("auto") == '"auto"'
    for bad in ("many", "2", True, 1.0):
        with pytest.raises(ValueError, match='expected a whole number or "auto", from 1 to 1024'):
            row.parse(bad)


def test_mode_out_of_bounds() -> None:
    """A mode is of permissions alone."""
    with pytest.raises(ValueError, match=r"1777 is too large; expected a file mode .*, from 0000 to 0777"):
        QUEUE_SETTINGS["socket_mode"].parse("1777")


@pytest.mark.parametrize(("kind", "written"), [(TEXT, ""), (TEXT, " "), (WORDS, [])])
def test_empty(kind: Kind, written: object) -> None:
    """A string or list with the minimum 1 may not be empty, one without may."""
    row = Setting(key="k", kind=kind, default=None, minimum=1, help="K.", scope="worker")
    with pytest.raises(ValueError, match=r"it is empty; expected a .*string.*, not empty"):
        row.parse(written)
    assert not replace(row, minimum=None).parse(written)


@pytest.mark.parametrize(
    ("row", "path"),
    [
        (DAEMON_SETTINGS["control"], "control"),
        (QUEUE_SETTINGS["prefetch"], "queues.a.prefetch"),
        (Setting(key="k", kind=TEXT, default="", help="K.", scope="worker"), "k"),
    ],
)
def test_path(row: Setting, path: str) -> None:
    """Only a queue's keys stand in a table."""
    assert row.path("a") == path


def test_what_toml_cannot_say() -> None:
    """No value at all is told in words."""
    assert DAEMON_SETTINGS["control"].to_toml(None) == "not set"


def test_choice() -> None:
    """A word that is not among the choices is refused with all of them and the nearest."""
    with pytest.raises(
        ValueError, match=r'"warn" .*did you mean warning\?.*expected one of debug, info, warning, error'
    ):
        DAEMON_SETTINGS["log_level"].parse("warn")
