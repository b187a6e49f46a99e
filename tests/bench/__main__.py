"""`tests/run bench`: the table of zqd beside zmq.proxy and a pyzmq loop, in the same run on the same machine.

tests/run bench [--rounds N] [--seconds S] [--only TEXT] [--json FILE] [--smoke]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import zmq

from tests.bench.cases import CASES, SMOKE
from tests.bench.contestants import CONTESTANTS
from tests.bench.measure import Result, build_load, rounds, summary

COLUMNS = f"{'':12} {'requests/s':>22} {'CPU µs/request':>20} {'p50 µs':>18} {'p99 µs':>18} {'MB':>12}"


def main() -> int:
    """Run the cases and print the table as it grows."""
    options = _parser().parse_args()
    cases = [case for case in (SMOKE if options.smoke else CASES) if options.only in case.name]
    load = build_load()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, libzmq {zmq.zmq_version()}"
    print(f"{machine}; load: pre-encoded ZMTP over plain sockets, in C; median of {options.rounds} rounds")
    print("in parentheses: the ratio to zmq.proxy of the same round, median [least-most]\n")
    results: dict[str, Result] = {}
    for number, case in enumerate(cases, 1):
        measured = []
        for done, one in enumerate(rounds(load, CONTESTANTS, case, options.rounds, options.seconds), 1):
            measured.append(one)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{number}/{len(cases)} {case.name}: round {done} of {options.rounds} ")
        results[case.name] = summary(measured)
        _show(case.name, results[case.name])
    if options.json:
        report = {"machine": machine, "cases": {name: _plain(result) for name, result in results.items()}}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _show(name: str, result: Result) -> None:
    print(f"{name}\n{COLUMNS}")
    for contestant, spreads in result.items():
        cells = []
        for figure, width in (("rate", 22), ("cpu", 20), ("p50", 18), ("p99", 18), ("resident", 12)):
            absolute, ratio = spreads["absolute"][figure], spreads["ratio"][figure]
            text = f"{absolute.median:,.0f}" if absolute.median >= 100 else f"{absolute.median:.1f}"
            spread = f" [{ratio.least:.2f}-{ratio.most:.2f}]" if figure == "rate" else ""
            cells.append(f"{text} ({ratio.median:.2f}){spread}".rjust(width))
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
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every contestant (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each is measured (default 2)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose name contains TEXT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    parser.add_argument("--smoke", action="store_true", help="one small case, to see that it all works")
    return parser


if __name__ == "__main__":
    sys.exit(main())
