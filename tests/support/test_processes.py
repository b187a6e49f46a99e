"""What the other tests lean on."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import logged


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    """A log is read while its writer is at work: half a line is not an error, it comes the next time."""
    log = tmp_path / "own.log"
    log.write_text('Traceback:\n{"event": "zqd.started"}\n{"event": "zqd.rea')
    assert logged(log) == [{"event": "zqd.started"}]
    log.write_text('{"event": "zqd.started"}\n{"event": "zqd.ready"}\n')
    assert logged(log, "zqd.ready") == [{"event": "zqd.ready"}]
