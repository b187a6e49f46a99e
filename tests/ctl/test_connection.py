from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import zmq

from zqd.ctl.connection import ControlError, ExitStatus, ask, locate
from zqd.rundir import Places


def failure(path: Path, timeout: float = 10.0) -> tuple[ExitStatus, str]:
    """The status and the sentence that asking at `path` ends with."""
    with pytest.raises(ControlError) as error:
        ask(str(path), "ping", {}, timeout)
    return error.value.status, error.value.sentence


@contextmanager
def answering(path: Path, reply: bytes) -> Iterator[list[bytes]]:
    """Something that is no zqd of today: it answers one request with `reply`; yields the requests."""
    requests: list[bytes] = []
    context = zmq.Context[zmq.Socket[bytes]]()
    router = context.socket(zmq.ROUTER)
    router.bind(f"ipc://{path}")

    def serve() -> None:
        identity, empty, request = router.recv_multipart()
        requests.append(request)
        router.send_multipart([identity, empty, reply])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield requests
    finally:
        thread.join()
        router.close()
        context.term()


# Where


def test_an_endpoint_is_a_path() -> None:
    """ipc:// and a path, absolute or not."""
    assert locate("ipc:///run/zqd/control.sock") == "/run/zqd/control.sock"
    assert locate("ipc://here.sock") == "here.sock"


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:5559", "/run/zqd/control.sock", "ipc://", "ipc://@zqd", "ipc://*"]
)
def test_any_other_endpoint_is_a_usage_error(endpoint: str) -> None:
    """The control socket is never on TCP, and always a file, whose mode says who may use it."""
    with pytest.raises(ControlError) as error:
        locate(endpoint)
    assert (error.value.status, error.value.sentence) == (
        ExitStatus.USAGE,
        f"{endpoint} is no control endpoint: ipc://PATH is wanted",
    )


def test_a_path_too_long_for_a_socket_is_a_usage_error() -> None:
    """The kernel's limit is said as such."""
    with pytest.raises(ControlError, match="is too long: a socket's path has at most 107 bytes") as error:
        locate("ipc:///" + "x" * 107)
    assert error.value.status == ExitStatus.USAGE


def test_without_an_endpoint_the_places_are_searched(tmp_path: Path) -> None:
    """The first place that holds a control socket is it."""
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "control.sock").touch()
    places = Places(tmp_path / "run", tmp_path / "user", tmp_path / "private")
    assert locate(None, places) == f"{tmp_path}/user/control.sock"


def test_a_lone_status_socket_tells_where_zqd_is(tmp_path: Path) -> None:
    """Its control socket would lie beside it; in the private place, which is the user's own, it is no sign."""
    for place in ("run", "private"):
        (tmp_path / place).mkdir()
    (tmp_path / "private" / "status.sock").touch()
    places = Places(tmp_path / "run", None, tmp_path / "private")
    with pytest.raises(ControlError, match="zqd is not running"):
        locate(None, places)
    (tmp_path / "run" / "status.sock").touch()
    assert locate(None, places) == f"{tmp_path}/run/control.sock"


def test_nowhere_a_socket_names_where_was_looked(tmp_path: Path) -> None:
    """The sentence lists the places."""
    with pytest.raises(ControlError) as error:
        locate(None, Places(tmp_path / "run", None, tmp_path / "private"))
    looked = f"ipc://{tmp_path}/run/control.sock, ipc://{tmp_path}/private/control.sock"
    assert (error.value.status, error.value.sentence) == (
        ExitStatus.NOT_RUNNING,
        f"zqd is not running: no socket control.sock; looked in: {looked}",
    )


# Who listens


def test_no_socket_is_not_running(sockets: Path) -> None:
    """A path that does not exist."""
    path = sockets / "control.sock"
    assert failure(path) == (ExitStatus.NOT_RUNNING, f"zqd is not running: no socket at ipc://{path}")


def test_a_dead_socket_file_is_not_running(sockets: Path) -> None:
    """What a zqd leaves that was killed."""
    path = sockets / "control.sock"
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    assert failure(path) == (ExitStatus.NOT_RUNNING, f"zqd is not running: nothing listens at ipc://{path}")


def test_a_file_is_no_socket(sockets: Path) -> None:
    """A path that belongs to something else says nothing about zqd."""
    path = sockets / "control.sock"
    path.touch()
    assert failure(path) == (ExitStatus.ERROR, f"{path} is not a socket")


def test_a_full_backlog_is_no_answer(sockets: Path) -> None:
    """A zqd that accepts nobody any more is waited for no longer than the time-out, not for ever."""
    path = sockets / "control.sock"
    with (
        closing(socket.socket(socket.AF_UNIX)) as listener,
        closing(socket.socket(socket.AF_UNIX)) as waiting,
    ):
        listener.bind(str(path))
        listener.listen(0)
        waiting.connect(str(path))
        assert failure(path, 0.05) == (
            ExitStatus.ERROR,
            "zqd did not answer within 0.05 s: stopped or hung?",
        )


# What it answers


def test_what_is_not_permitted_has_a_status_of_its_own(sockets: Path) -> None:
    """As the status socket answers an order."""
    reply = b'{"zqd": 1, "ok": false, "code": "not-permitted", "error": "not here"}'
    with answering(sockets / "c", reply):
        assert failure(sockets / "c") == (ExitStatus.NO_PERMISSION, "not here")


def test_the_request_and_the_result(sockets: Path) -> None:
    """The request says protocol, command and arguments; the result is what comes back."""
    with answering(sockets / "c", b'{"zqd": 1, "ok": true, "result": [1, 2]}') as requests:
        assert ask(str(sockets / "c"), "workers", {"queue": "q"}, 10) == [1, 2]
    assert [json.loads(request) for request in requests] == [
        {"zqctl": 1, "command": "workers", "args": {"queue": "q"}}
    ]


def test_no_time_out_waits(sockets: Path) -> None:
    """A time-out of 0 is none."""
    with answering(sockets / "c", b'{"zqd": 1, "ok": true, "result": null}'):
        assert ask(str(sockets / "c"), "ping", {}, 0) is None


def test_what_makes_no_sense_to_it_is_a_usage_error(sockets: Path) -> None:
    """As what makes none to zqctl."""
    reply = b'{"zqd": 1, "ok": false, "code": "bad-argument", "error": "no queue is named so"}'
    with answering(sockets / "c", reply):
        assert failure(sockets / "c") == (ExitStatus.USAGE, "no queue is named so")


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (b'{"zqd": 1, "ok": false, "code": "failed", "error": "it broke"}', "it broke"),
        (b'{"zqd": 2, "ok": true, "result": 1}', "zqd speaks control protocol 2, this zqctl 1"),
        (
            b'{"zqd": 2, "ok": false, "code": "unsupported-protocol", "error": "the request is in control protocol 1, zqd speaks 2"}',
            "the request is in control protocol 1, zqd speaks 2",
        ),
        (b"hello", "what listens at the control socket gave an answer that is not zqd's"),
        (b"[]", "what listens at the control socket gave an answer that is not zqd's"),
        (b'{"zqd": 1, "ok": true}', "what listens at the control socket gave an answer that is not zqd's"),
    ],
)
def test_an_answer_that_is_no_result_is_an_error(reply: bytes, sentence: str, sockets: Path) -> None:
    """zqd's own sentence where there is one, else what is wrong with the answer."""
    with answering(sockets / "c", reply):
        assert failure(sockets / "c") == (ExitStatus.ERROR, sentence)
