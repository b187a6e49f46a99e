"""`zqctl events`: what zqd publishes at its events socket, a line for each event, across restarts of zqd.

Events that come faster than they can be printed are missed, and zqd says how many (`events.missed`). Called through LOCAL.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from zqd.ctl.connection import ControlError, ExitStatus, locate, probe
from zqd.ctl.local import Session, complain
from zqd.ctl.tables import paint, plain
from zqd.rundir import beside

Sub = zmq.Socket[bytes]


def run(session: Session, args: dict[str, Any]) -> int:
    """Print events until there have been `count`, or for --timeout, or for ever.

    Raises `ControlError` when there is nothing to subscribe to, and when the time is over before there have been `count`.
    """
    path = _find(session)
    context = zmq.Context[Sub](1)
    try:
        with context.socket(zmq.SUB) as events:
            events.setsockopt(zmq.LINGER, 0)
            for topic in args["topic"] or [""]:
                events.setsockopt(zmq.SUBSCRIBE, topic.encode(errors="surrogateescape"))
            connection = events.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            events.connect(f"ipc://{path}")
            _follow(session, events, connection, args["count"])
    finally:
        context.destroy(linger=0)
    return ExitStatus.OK


def _find(session: Session) -> str:
    """The path of the events socket: what zqd says, or if it cannot be asked the one beside the control socket."""
    answers = True
    try:
        path = session.ask("status").get("sockets", {}).get("events")
    except ControlError as error:
        if error.status not in {ExitStatus.NOT_RUNNING, ExitStatus.NO_PERMISSION}:
            raise
        answers, path = False, None
    path = path or str(beside(Path(locate(session.control)), "events"))
    try:
        probe(path, session.timeout)
    except ControlError as error:
        if answers and error.status == ExitStatus.NOT_RUNNING:
            raise ControlError(ExitStatus.ERROR, f"this zqd publishes no events at ipc://{path}") from None
        raise
    return path


def _follow(session: Session, events: Sub, connection: Sub, count: int | None) -> None:
    """Print what comes; `connection` tells when zqd goes away and when it is back (libzmq connects again by itself)."""
    poller = zmq.Poller()
    poller.register(events, zmq.POLLIN)
    poller.register(connection, zmq.POLLIN)
    limit = session.given_timeout
    end = time.monotonic() + limit if limit else None
    left = count
    away = False
    while left != 0:
        patience = None if end is None else max(0, math.ceil((end - time.monotonic()) * 1000))
        ready = dict(poller.poll(patience))
        # Before the news that its sender is gone, and after the news that it is back.
        if events in ready and not (away and connection in ready):
            session.write(_text(events.recv_multipart(), session))
            left = left and left - 1
        elif connection in ready:
            gone = recv_monitor_message(connection)["event"] == zmq.EVENT_DISCONNECTED
            if gone != away:
                complain("zqd has gone away: waiting for it to come back" if gone else "zqd is back")
            away = gone
        if end is not None and time.monotonic() >= end:
            if left:
                sentence = f"there were {(count or 0) - left} of {count} events within {limit:g} s"
                raise ControlError(ExitStatus.ERROR, sentence)
            return


def _text(frames: Sequence[bytes], session: Session) -> str:
    try:
        event = json.loads(frames[-1])
        if isinstance(event, dict):
            return f"{json.dumps(event)}\n" if session.json else line(event, color=session.color) + "\n"
    except (ValueError, RecursionError):
        pass
    raise ControlError(ExitStatus.ERROR, "what comes from the events socket is not zqd's")


def line(event: Mapping[str, Any], *, color: bool = False) -> str:
    """An event for people: its time in this machine's zone, level, name, and zqd's sentence, or without one its fields."""
    rest = {key: value for key, value in event.items() if key not in {"event", "time", "level", "message"}}
    message = event.get("message") or " ".join(f"{key}={plain(value)}" for key, value in rest.items())
    level = plain(event.get("level"))
    parts = [_local(event.get("time")), paint(level, level) if color else level, plain(event.get("event"))]
    return " ".join([*parts, plain(message)]).rstrip()


def _local(time: object) -> str:
    try:
        return datetime.fromisoformat(str(time)).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError):
        return plain(time)
