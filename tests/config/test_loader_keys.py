"""What `load` asks of the keys of a side: that somebody can connect, and that nobody can who should not."""

from __future__ import annotations

from pathlib import Path

import pytest

from zqd.config import QueueConfig, load
from zqd.errors import ConfigError

SECRET = "frontend_curve_secret=zqd.key_secret"  # noqa: S105 - where it is
KEYS = "frontend_authorized_keys=clients"
ANYBODY = "frontend_anonymous=true"
STRANGERS = "frontend=tcp://0.0.0.0:5559"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A configuration in which nothing stands."""
    path = tmp_path / "zqd.toml"
    path.write_text("")
    return path


def loaded(path: Path, *settings: str) -> QueueConfig:
    """The queue default with these."""
    return load(path, [f"queues.default.{setting}" for setting in settings]).queues[0]


def problem(path: Path, *settings: str) -> str:
    """The one thing that is wrong with these."""
    with pytest.raises(ConfigError) as caught:
        loaded(path, *settings)
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize("who", [KEYS, ANYBODY])
def test_a_key_and_who_may_connect(empty: Path, who: str) -> None:
    """That is all that a secured side needs."""
    assert loaded(empty, SECRET, who).frontend_curve_secret == "zqd.key_secret"  # noqa: S105


@pytest.mark.parametrize("who", [(), ("frontend_authorized_keys=",), ("frontend_anonymous=false",)])
def test_a_key_and_nobody_who_may_connect(empty: Path, who: tuple[str, ...]) -> None:
    """Such a side would serve nobody: the line has both ways out."""
    line = problem(empty, SECRET, *who)
    assert line.startswith("--set queues.default.frontend_curve_secret: nobody could connect; expected ")
    assert "queues.default.frontend_authorized_keys, or queues.default.frontend_anonymous = true" in line


@pytest.mark.parametrize("setting", [KEYS, ANYBODY])
@pytest.mark.parametrize("secret", [(), ("frontend_curve_secret=",)])
def test_who_may_connect_without_a_key(empty: Path, setting: str, secret: tuple[str, ...]) -> None:
    """Whoever lists keys believes that they are asked for."""
    line = problem(empty, *secret, setting)
    assert "means nothing without a key of zqd's own; expected queues.default.frontend_curve_secret" in line


def test_the_other_side_is_another_matter(empty: Path) -> None:
    """The keys of one side say nothing of the other."""
    assert loaded(empty, SECRET, KEYS).backend_curve_secret == ""
    assert "backend_authorized_keys" in problem(empty, SECRET, KEYS, "backend_authorized_keys=workers")


def test_a_bad_value_has_one_line(tmp_path: Path) -> None:
    """It is not told as missing, too."""
    path = tmp_path / "zqd.toml"
    for text in (
        "frontend_curve_secret = 1\nfrontend_anonymous = true",
        'frontend_curve_secret = "s"\nfrontend_anonymous = "maybe"',
        'frontend_curve_secret = "s"\nfrontend_authorized_keys = 1',
    ):
        path.write_text(f"[queues.default]\n{text}\n")
        assert "expected" in problem(path)


def test_a_file_that_cannot_be_read_may_have_the_rest(tmp_path: Path) -> None:
    """Then nothing is said to be missing."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.toml", [f"queues.default.{SECRET}"])
    assert len(caught.value.problems) == 1


def test_strangers_may_reach_a_side_with_a_key(empty: Path) -> None:
    """They are asked who they are."""
    assert loaded(empty, STRANGERS, SECRET, KEYS).frontend == ("tcp://0.0.0.0:5559",)


@pytest.mark.parametrize(
    "others",
    [
        (),
        ("frontend_curve_secret=",),
        ("backend_curve_secret=s", "backend_anonymous=true"),
        ("frontend_allow=10.0.0.0/8",),
    ],
)
def test_strangers_may_not_reach_a_side_without(empty: Path, others: tuple[str, ...]) -> None:
    """An empty key is none, that of the other side is none, and an address proves nothing."""
    line = problem(empty, STRANGERS, *others)
    assert "tcp://0.0.0.0:5559 can be reached from other machines" in line
    assert "expected queues.default.frontend_curve_secret" in line


@pytest.mark.parametrize("key", ["backend_curve_secret", "backend_authorized_keys"])
@pytest.mark.parametrize("text", ["./keys", "keys/clients", "../keys"])
def test_a_relative_path(empty: Path, key: str, text: str) -> None:
    """It would be another one after --daemonize, whose folder is /; a name alone is that of a credential."""
    line = problem(empty, "backend_curve_secret=s", f"{key}={text}")
    assert "it is neither an absolute path nor a credential's name; expected the absolute path of" in line


def test_networks(empty: Path) -> None:
    """Addresses and networks of both kinds."""
    queue = loaded(empty, "frontend_allow=10.0.0.0/8, 192.0.2.7,2001:db8::/32", "frontend_deny=10.1.0.0/16")
    assert queue.frontend_allow == ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")
    assert queue.frontend_deny == ("10.1.0.0/16",)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "example.org", "10.0.0.0/33", "10.0.0", "::/129"])
def test_what_is_no_network(empty: Path, text: str) -> None:
    """One line, with what is expected."""
    assert "a list of addresses and networks such as" in problem(empty, f"backend_deny={text}")
