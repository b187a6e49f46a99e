"""`zqctl doctor`: looks at zqd and around it, and says in one line each how it is and what to do.

    ok    version: zqd and zqctl are 0.1.0
    warn  backend tcp://127.0.0.1:5560: every user of this machine may connect as a worker …: set queues.default.backend = …
    FAIL  zqd: zqd is not running: nothing listens at ipc:///run/zqd/control.sock: systemctl start zqd …
    skip  user: this user may not see whose process zqd is

The exit status is 1 if anything is FAIL. Nothing is changed, and only --probe sends a request. Each check is a function of plain values
that returns its finding: `sockets` (zqd's own), `service` (its process, its queues), `endpoints` (where clients and workers connect),
`machine`. Called by `zqd.ctl.local`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zqd.control.inquiries import by_name
from zqd.ctl import connection
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.doctor import endpoints, machine, service, sockets
from zqd.ctl.doctor.finding import Finding, Level, skip
from zqd.ctl.local import DEFAULT_TIMEOUT, Session
from zqd.ctl.tables import Row
from zqd.endpoints import parse
from zqd.rundir import beside


def run(session: Session, args: dict[str, Any]) -> int:
    """Print every finding, as it comes; with --json all of them as one list."""
    findings = []
    for finding in examine(session, args["queue"], args["probe"]):
        findings.append(finding)
        if not session.json:
            session.write(finding.line(color=session.color) + "\n")
    if session.json:
        session.write(json.dumps([finding._asdict() for finding in findings], indent=2) + "\n")
    return ExitStatus.ERROR if any(finding.level is Level.FAIL for finding in findings) else ExitStatus.OK


def examine(session: Session, queue: str | None, body: str | None) -> Iterator[Finding]:
    """Every check; of the queues only `queue`, if one is named. Raises `ControlError` where the command line makes no sense."""
    timeout = session.timeout or DEFAULT_TIMEOUT
    status, workers, trouble = _ask(session)
    chosen = _chosen(by_name(status["queues"]) if status else {}, queue, probing=body is not None)
    if trouble is not None:
        yield sockets.answer(trouble)
    if trouble is None or trouble.status != ExitStatus.NOT_RUNNING:
        yield from sockets.examine(_paths(session, status))
    if status is not None:
        yield from service.examine(status)
    yield from machine.examine()
    for row in chosen:
        yield from service.queue(row, workers)
        for side in endpoints.SIDES:
            for text in row[side]:
                yield from endpoints.examine(side, row["name"], parse(text), timeout)
        if body is not None and not row["frontend"]:
            yield skip(f"probe of queue {row['name']}", "it has no frontend any more")
        elif body is not None:
            yield endpoints.probe(row["name"], parse(row["frontend"][0]), os.fsencode(body), timeout)


def _ask(session: Session) -> tuple[Row | None, Sequence[Row], ControlError | None]:
    """The status and the workers, or why there is no answer."""
    try:
        return session.ask("status"), session.ask("workers"), None
    except ControlError as error:
        if error.status == ExitStatus.USAGE:
            raise
        return None, (), error


def _chosen(queues: Mapping[str, Row], queue: str | None, *, probing: bool) -> Sequence[Row]:
    """The queues to look at. A request goes only to one that is named, or the only one: it is real work for somebody."""
    chosen = [row for name, row in queues.items() if queue in {None, name}]
    names = ", ".join(queues)
    if queues and not chosen:
        raise ControlError(ExitStatus.USAGE, f"no queue is named {queue!r}; there is {names}")
    if probing and len(chosen) > 1:
        raise ControlError(
            ExitStatus.USAGE, f"which queue shall --probe go to? --queue NAME; there is {names}"
        )
    return chosen


def _paths(session: Session, status: Row | None) -> dict[str, str]:
    """Where zqd's own sockets are, by their roles: as zqd says, or where they are by default."""
    control = connection.locate(session.control)
    told = (status or {}).get("sockets", {})
    paths = {role: told.get(role) or str(beside(Path(control), role)) for role in ("status", "events")}
    return {"control": control} | paths
