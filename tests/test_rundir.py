from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from zqd.errors import ExitStatus, UnavailableError
from zqd.rundir import Places, beside, control_endpoints, find_control, run_directory


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Three places of which none exists yet; the user's has its $XDG_RUNTIME_DIR."""
    (tmp_path / "xdg").mkdir()
    return Places(tmp_path / "run", tmp_path / "xdg" / "zqd", tmp_path / "zqd-1000")


@pytest.fixture
def private(places: Places) -> Places:
    """Places of which only the private one can be had."""
    return Places(places.system, None, places.private)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory of our own, with this process kept from overriding permissions as root does."""
    ground = Path(tempfile.mkdtemp(prefix="zqd-test-"))
    root = os.geteuid() == 0
    if root:
        os.chown(ground, 65534, 65534)
        os.setresuid(65534, 65534, 0)
    try:
        yield ground
    finally:
        if root:
            os.setresuid(0, 0, 0)
        for directory in ground.iterdir():
            directory.chmod(0o700)
        shutil.rmtree(ground)


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


# The daemon's choice


def test_the_system_directory_is_taken_where_it_may_be_written(places: Places) -> None:
    """/run/zqd comes first."""
    places.system.mkdir()
    assert run_directory(places) == places.system


def test_a_system_directory_of_others_is_passed_over(as_nobody: Path) -> None:
    """Without the right to write into /run/zqd the user's place is taken."""
    places = Places(as_nobody / "run", as_nobody / "zqd", as_nobody / "private")
    places.system.mkdir(mode=0o555)
    assert run_directory(places) == places.user


def test_the_users_directory_is_made_for_the_user_alone(places: Places) -> None:
    """$XDG_RUNTIME_DIR/zqd is made with mode 0700."""
    assert places.user is not None
    assert run_directory(places) == places.user
    assert mode(places.user) == 0o700


def test_the_users_directory_may_stand_already(places: Places) -> None:
    """A RuntimeDirectory= of the user's systemd, mode 0755, is as good: nobody else gets into $XDG_RUNTIME_DIR."""
    assert places.user is not None
    places.user.mkdir(mode=0o755)
    assert run_directory(places) == places.user


def test_a_runtime_directory_that_is_gone_leads_to_the_private_one(places: Places) -> None:
    """A stale $XDG_RUNTIME_DIR, as sudo and cron leave it, is no error."""
    assert places.user is not None
    places.user.parent.rmdir()
    assert run_directory(places) == places.private


def test_the_private_directory_is_made_for_the_user_alone(private: Places) -> None:
    """The place in /tmp is made with mode 0700."""
    assert run_directory(private) == private.private
    assert mode(private.private) == 0o700


def test_the_private_directory_is_used_again(private: Places) -> None:
    """The second start finds the first one's directory good."""
    run_directory(private)
    assert run_directory(private) == private.private


def refused(places: Places) -> str:
    """The one line with which no directory can be had."""
    with pytest.raises(UnavailableError) as error:
        run_directory(places)
    assert error.value.status == ExitStatus.UNAVAILABLE
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_private_link_is_refused(private: Places, tmp_path: Path) -> None:
    """A symbolic link in /tmp may be another user's trap, wherever it leads."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    private.private.symlink_to(tmp_path / "elsewhere")
    assert refused(private) == f"{private.private} is not safe to use: it is a symbolic link"


def test_a_private_file_is_refused(private: Places) -> None:
    """A file where the directory should be is refused."""
    private.private.touch()
    assert refused(private) == f"{private.private} is not safe to use: it is not a directory"


def test_a_private_directory_open_to_others_is_refused(private: Places) -> None:
    """Any mode but 0700 is refused, and not quietly mended."""
    private.private.mkdir()
    private.private.chmod(0o750)
    assert refused(private) == f"{private.private} is not safe to use: its mode is 0750, not 0700"
    assert mode(private.private) == 0o750


def test_a_private_directory_of_another_user_is_refused(
    private: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place in /tmp made by somebody else is refused."""
    run_directory(private)
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    assert re.search(rf"it belongs to uid {us}, not to uid {us + 1}$", refused(private))


def test_a_private_directory_that_cannot_be_made_is_said(places: Places, tmp_path: Path) -> None:
    """Where nothing can be made, one line says which directory and why."""
    nowhere = Places(places.system, None, tmp_path / "missing" / "zqd-1000")
    assert refused(nowhere) == f"cannot make the directory {nowhere.private}: No such file or directory"


# Where zqctl looks


def test_the_endpoints_are_listed_in_order(places: Places) -> None:
    """All places are named, so that a person sees where was looked."""
    expected = [f"ipc://{place}/control.sock" for place in (places.system, places.user, places.private)]
    assert control_endpoints(places) == expected


def test_the_first_control_socket_is_found(places: Places) -> None:
    """A place without a socket is passed over."""
    assert places.user is not None
    places.system.mkdir()
    for place in (places.user, places.private):
        place.mkdir(mode=0o700)
        (place / "control.sock").touch()
    assert find_control(places) == places.user / "control.sock"


def test_no_control_socket_is_none(places: Places) -> None:
    """Nothing found is not an error here: the caller has the sentence for it."""
    assert find_control(places) is None


def test_a_trap_in_the_private_place_is_not_found(private: Places) -> None:
    """A socket in a /tmp/zqd-UID that is not ours alone is not believed."""
    private.private.mkdir()
    private.private.chmod(0o777)
    (private.private / "control.sock").touch()
    assert find_control(private) is None


def test_a_directory_that_may_not_be_searched_counts_last(as_nobody: Path) -> None:
    """A barred /run/zqd is where zqd must be if it is nowhere else."""
    places = Places(as_nobody / "run", as_nobody / "zqd", as_nobody / "private")
    places.system.mkdir()
    places.system.chmod(0)
    assert find_control(places) == places.system / "control.sock"
    run_directory(places)
    assert places.user is not None
    (places.user / "control.sock").touch()
    assert find_control(places) == places.user / "control.sock"


def test_the_places_of_this_process_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """/run/zqd, then $XDG_RUNTIME_DIR/zqd, then /tmp/zqd-UID."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/somewhere")
    expected = [Path("/run/zqd"), Path("/somewhere/zqd"), Path(f"/tmp/zqd-{os.geteuid()}")]
    assert Places.of_this_process().in_order() == expected


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_a_void_runtime_directory_is_no_place(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty or relative $XDG_RUNTIME_DIR counts as none."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert Places.of_this_process().user is None


@pytest.mark.parametrize(
    ("control", "status", "events"),
    [
        ("/run/zqd/control.sock", "/run/zqd/status.sock", "/run/zqd/events.sock"),
        ("/tmp/a", "/tmp/a.status", "/tmp/a.events"),
        (
            "/tmp/control.sock.d/b.sock",
            "/tmp/control.sock.d/b.sock.status",
            "/tmp/control.sock.d/b.sock.events",
        ),
    ],
)
def test_beside(control: str, status: str, events: str) -> None:
    """The other two sockets lie in the control socket's directory, and two daemons there never share one."""
    assert (beside(Path(control), "status"), beside(Path(control), "events")) == (Path(status), Path(events))
