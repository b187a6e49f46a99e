"""Who may use which socket, and what those are told who may not."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from tests.control.serving import PaperBroker, served
from tests.ctl.running import NOBODY, READS, listen, said, zqctl

# Nothing but the control socket


def test_a_socket_of_a_group_is_status_4(sockets: Path, control: str) -> None:
    """Who may not connect learns which group may."""
    (sockets / "control.sock").chmod(0o060)
    group = grp.getgrgid((sockets / "control.sock").stat().st_gid).gr_name
    assert said(zqctl("--control", control, "status", program=NOBODY)) == (
        4,
        f"zqctl: no permission for {control}: ask for membership of the group that owns it ({group})\n",
    )


def test_a_directory_that_bars_the_way_is_status_4(sockets: Path) -> None:
    """If the directory is what may not be entered, its group is the one to ask for."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory of another group")
    (sockets / "run").mkdir()
    os.chown(sockets / "run", 0, 1)
    (sockets / "run").chmod(0o750)
    listen(sockets / "run" / "c").close()
    done = zqctl("--control", f"ipc://{sockets}/run/c", "status", program=NOBODY)
    group = grp.getgrgid(1).gr_name
    assert said(done) == (
        4,
        f"zqctl: no permission for ipc://{sockets}/run/c: ask for membership of the group that owns it ({group})\n",
    )


def test_a_socket_of_one_user_is_status_4(sockets: Path, control: str) -> None:
    """Where no group could help, the owner is named."""
    (sockets / "control.sock").chmod(0o000)
    status, sentence = said(zqctl("--control", control, "status", program=NOBODY))
    assert status == 4
    assert sentence.startswith(f"zqctl: no permission for {control}: only its owner (")


# The status socket


def test_who_may_only_look_is_answered_by_the_status_socket(sockets: Path, control: str) -> None:
    """A command that reads needs no permission for the control socket."""
    (sockets / "control.sock").chmod(0o060)
    with served(sockets / "status.sock", PaperBroker(), READS):
        (sockets / "status.sock").chmod(0o666)
        done = zqctl("--control", control, "ping", program=NOBODY)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"zqd answers, pid {os.getpid()}\n", "")


def test_an_order_without_permission_is_status_4(sockets: Path, control: str) -> None:
    """The status socket is not asked for what it would refuse; who may order is said."""
    (sockets / "control.sock").chmod(0o060)
    with served(sockets / "status.sock", PaperBroker(), READS):
        (sockets / "status.sock").chmod(0o666)
        status, sentence = said(zqctl("--control", control, "pause", "slow", program=NOBODY))
    assert (status, sentence.split(": ")[1]) == (4, f"no permission for {control}")


def test_a_question_that_the_status_socket_refuses_is_its_own_error(sockets: Path, control: str) -> None:
    """What is wrong with the question is said, not that another socket was tried first."""
    (sockets / "control.sock").chmod(0o060)
    with served(sockets / "status.sock", PaperBroker(), READS):
        (sockets / "status.sock").chmod(0o666)
        done = zqctl("--control", control, "workers", "--queue", "x", program=NOBODY)
    assert said(done) == (2, "zqctl: no queue is named 'x'; there is default, slow\n")


def test_where_there_is_only_a_status_socket_it_is_asked(sockets: Path) -> None:
    """As in a container that was given no other; orders are refused by zqd itself, with status 4."""
    with served(sockets / "status.sock", PaperBroker(), READS):
        control = f"ipc://{sockets}/control.sock"
        assert zqctl("--control", control, "ping").stdout == f"zqd answers, pid {os.getpid()}\n"
        status, sentence = said(zqctl("--control", control, "pause", "slow"))
    assert (status, sentence.split(":")[:2]) == (4, ["zqctl", " pause changes something"])


def test_a_lone_status_socket_is_found(sockets: Path) -> None:
    """Without --control too."""
    if Path("/run/zqd/control.sock").exists():
        pytest.skip("a zqd of this machine comes first")
    (sockets / "zqd").mkdir()
    with served(sockets / "zqd" / "status.sock", PaperBroker(), READS):
        done = zqctl("ping", env=os.environ | {"XDG_RUNTIME_DIR": str(sockets)})
    assert (done.returncode, done.stdout) == (0, f"zqd answers, pid {os.getpid()}\n")
