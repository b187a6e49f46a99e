"""`tests/run bench`: the table of zqd beside zmq.proxy, a pyzmq loop and no broker, in the same run on the same machine.

tests/run bench [--quick] [--only TEXT] [--rounds N] [--seconds S] [--json FILE] [--svg FILE] [--smoke]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import sys
from dataclasses import asdict
from pathlib import Path

import zmq

from tests.bench.cases import CASES, SMOKE
from tests.bench.chart import chart
from tests.bench.contestants import contestants
from tests.bench.measure import Result, build_load, rounds, summary

WIDTHS = {"rate": 22, "cpu": 26, "kernel": 14, "p50": 18, "p99": 18, "resident": 12}
TITLES = ("requests/s", "CPU µs/request", "in the kernel", "p50 µs", "p99 µs", "MB")
COLUMNS = " " * 13 + " ".join(map(str.rjust, TITLES, WIDTHS.values()))


def main() -> int:
    """Run the cases and print the table as it grows."""
    options = _parser().parse_args()
    chosen = SMOKE if options.smoke else CASES
    cases = [case for case in chosen if options.only in case.name and (case.key or not options.quick)]
    count = options.rounds or (3 if options.quick else 5)
    seconds = options.seconds or (1.0 if options.quick else 2.0)
    load = build_load()
    machine = _machine()
    print(f"{machine}; load: pre-encoded ZMTP over plain sockets, in C; median of {count} rounds")
    print("in parentheses: the ratio to zmq.proxy of the same round, median [least-most]\n", flush=True)
    results: dict[str, Result] = {}
    for number, case in enumerate(cases, 1):
        progress = _Progress(f"{number}/{len(cases)} {case.name}: ")
        results[case.name] = summary(rounds(load, contestants(case), case, count, seconds, progress.tell))
        progress.clear()
        _show(case.name, results[case.name])
    if options.json:
        report = {"machine": machine, "cases": {name: _plain(result) for name, result in results.items()}}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.svg:
        options.svg.write_text(chart(results, machine))
    return 0


class _Progress:
    """One line on a terminal that says what is measured."""

    def __init__(self, title: str) -> None:
        self._title = title

    def tell(self, text: str) -> None:
        """Put this into the line's place."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{self._title}{text} ")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for the result."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def _machine() -> str:
    """What the figures depend on, and their date."""
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = models[0] if models else platform.machine()
    versions = f"Linux {platform.release()}, Python {platform.python_version()}, libzmq {zmq.zmq_version()}"
    return f"{datetime.datetime.now(datetime.UTC).date()}, {os.cpu_count()} cores {model}, {versions}"


def _show(name: str, result: Result) -> None:
    print(f"{name}\n{COLUMNS}")
    for contestant, spreads in result.items():
        cells = []
        for figure, width in WIDTHS.items():
            absolute, ratio = spreads["absolute"][figure], spreads["ratio"][figure]
            text = f"{absolute.median:,.0f}" if absolute.median >= 100 else f"{absolute.median:.1f}"
            spread = f" [{ratio.least:.2f}-{ratio.most:.2f}]" if figure in ("rate", "cpu") else ""
            cells.append((f"{text} ({ratio.median:.2f}){spread}" if absolute.most else "-").rjust(width))
        print(f"{contestant:12} {' '.join(cells)}")
    print(flush=True)


def _plain(result: Result) -> dict[str, object]:
    return {
        contestant: {
            kind: {figure: asdict(spread) for figure, spread in figures.items()}
            for kind, figures in kinds.items()
        }
        for contestant, kinds in result.items()
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests/run bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, help="rounds of every contestant (default 5; quick: 3)")
    parser.add_argument("--seconds", type=float, help="how long each is measured (default 2; quick: 1)")
    parser.add_argument(
        "--quick", action="store_true", help="the cases that tell the most, in about three minutes"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose name contains TEXT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw a chart there as well")
    parser.add_argument("--smoke", action="store_true", help="one small case, to see that it all works")
    return parser


if __name__ == "__main__":
    sys.exit(main())
