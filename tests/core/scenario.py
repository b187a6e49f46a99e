"""The language of `scenarios/*.txt`: a line says what a peer does, the indented lines beneath it what the queue did then.

    queue max_attempts=2 prefetch=16    the settings; time begins
    client a b                          they join
    worker w1 w2                        REP workers join
    dealer d1 capacity=4                a DEALER worker joins, with a hello if anything is told
    a sends one two                     two requests; `big:300` is padded so that the message has 300 bytes
    a sends one with timeout_ms=500 priority=9
    a sends one under c7                with the frame `c7` before the empty one, as a correlating REQ does
    a sends the frames x|y              anything, `|` between the frames
    a sends too much                    a message over the size limit
    a holds 300                         bytes of a message that is not whole yet; its next message is that one
    a stops reading / a reads / a leaves
    w1 replies                          to the first that it has not answered: `re:one`
    d1 replies to two                   to another one
    w1 replies under c9                 in another envelope
    w1 replies too much
    w1 fails 500 no such page
    w1 sends the frames x|y
    d1 says leave / d1 says hello capacity=2
    w1 dies / w1 comes back / w1 replies to its old request
    wait 1.5                            seconds
    pause / drain / resume / stop / restart
    drain w1 / resume w1 / kick w1 / cancel r3
    counters / workers / clients / waiting

What the queue did, in its order: `w1 <- r3.1 one` is the first dispatch of its third request, `a <- re:one` an answer,
`a <- 502 worker lost` a failure; then `* event field=value …` for each notice. `[+1.5]` begins what happened at that time.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.core.fakes import FakeClient, FakeWorker, Task, padded
from tests.core.harness import BOOT, START, Harness, oversize
from zqd.core.outputs import Ending

INDENT = "    "
PEERS = ("client", "worker", "peer")


class Stage(Harness):
    """A harness that writes down what the queue does."""

    def __init__(self, **settings: Any) -> None:
        self.lines: list[str] = []
        self._told_at = START
        super().__init__(**settings)

    def tell(self, line: str) -> None:
        """One line of output, with the time where it has moved on."""
        if self.now != self._told_at:
            self._told_at = self.now
            self.lines.append(f"[+{self.now - START:g}]")
        self.lines.append(line)

    def saw_dispatch(self, worker: FakeWorker, task: Task) -> None:
        """`w1 <- r3.1 one`."""
        self.tell(
            f"{worker.name} <- {_request(task.id[8:14])}.{int.from_bytes(task.id[14:])} {_shown(task.body)}"
        )

    def saw_answer(self, client: FakeClient, frames: list[bytes]) -> None:
        """`a <- re:one`, `a <- c7: re:one`, `a <- 502 worker lost`."""
        cut = frames.index(b"")
        under = "".join(f"{_shown(frame)}: " for frame in frames[:cut])
        body = b"|".join(frames[cut + 1 :]).removeprefix(b"ZQD-ERROR ")
        self.tell(f"{client.name} <- {under}{_shown(body)}")

    def saw_left(self, worker: FakeWorker) -> None:
        """`d1 <- left`."""
        self.tell(f"{worker.name} <- left")

    def saw_close(self, peer: FakeClient | FakeWorker, ending: Ending) -> None:
        """`a is closed after what is to be sent`."""
        self.tell(f"{peer.name} is closed {ending.value}")

    def saw_resumed(self, client: FakeClient) -> None:
        """`a is read again`."""
        self.tell(f"{client.name} is read again")

    def saw_notice(self, event: str, fields: dict[str, object]) -> None:
        """`* worker.lost worker=w1 in_flight=1`."""
        told = {key: value for key, value in fields.items() if key not in {"address", "name"}}
        for key in PEERS:
            if key in told:
                told[key] = fields["address"]
        if "request" in told:
            told["request"] = _request_named(str(told["request"]))
        words = (f"{key}={_word(value)}" for key, value in told.items() if value is not None)
        self.tell(" ".join(("*", event, *words)))


class Scenario:
    """Plays the lines of one scenario."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.clients: dict[str, FakeClient] = {}
        self.workers: dict[str, FakeWorker] = {}

    def play(self, line: str) -> list[str]:
        """What the queue did after one line."""
        stage = self.stage
        words = line.split()
        name, rest = words[0], words[1:]
        if name == "queue":
            self.stage = stage = Stage(**_settings(rest))
        elif name in self.clients:
            self._client(self.clients[name], rest)
        elif name in self.workers:
            self._worker(self.workers[name], rest)
        else:
            orders: dict[str, Callable[[list[str]], None]] = {
                "client": self._new_clients,
                "worker": self._new_workers,
                "dealer": self._new_dealer,
                "wait": lambda rest: stage.wait(float(rest[0])),
                "pause": lambda _: stage.pause(),
                "drain": lambda rest: stage.drain_worker(self.workers[rest[0]]) if rest else stage.drain(),
                "resume": lambda rest: stage.resume_worker(self.workers[rest[0]]) if rest else stage.resume(),
                "kick": lambda rest: stage.kick((self.workers | self.clients)[rest[0]]),
                "cancel": lambda rest: self._cancel(rest[0]),
                "stop": lambda _: stage.stop(),
                "restart": lambda _: self._restart(),
                "counters": lambda _: self._counters(),
                "workers": lambda _: self._worker_states(),
                "clients": lambda _: self._client_states(),
                "waiting": lambda _: stage.tell(f"{stage.queue.line.size} of {stage.queue.line.bytes} bytes"),
            }
            orders[name](rest)
        done, stage.lines = stage.lines, []
        return done

    def _new_clients(self, names: list[str]) -> None:
        for name in names:
            self.clients[name] = self.stage.client(name)

    def _new_workers(self, names: list[str]) -> None:
        for name in names:
            self.workers[name] = self.stage.worker(name)

    def _new_dealer(self, words: list[str]) -> None:
        self.workers[words[0]] = self.stage.dealer(words[0], **_settings(words[1:]))

    def _client(self, client: FakeClient, words: list[str]) -> None:
        match words:
            case ["sends", "too", "much"]:
                client.send_raw(oversize())
            case ["sends", "the", "frames", frames]:
                client.send_frames(*frames.encode().split(b"|"))
            case ["sends", *rest]:
                bodies, envelope, options = _asked(rest)
                for body in bodies:
                    client.send(body, envelope=envelope, options=options)
            case ["holds", size]:
                client.hold(int(size))
            case ["stops", "reading"]:
                client.stop_reading()
            case ["reads"]:
                client.read()
            case ["leaves"]:
                client.leave()
            case _:
                raise ValueError(f"what does a client do that {' '.join(words)}?")

    def _worker(self, worker: FakeWorker, words: list[str]) -> None:
        match words:
            case ["replies"]:
                worker.reply()
            case ["replies", "to", "its", "old", "request"]:
                worker.reply_old()
            case ["replies", "to", body]:
                worker.reply(place=worker.bodies.index(body.encode()))
            case ["replies", "under", frame]:
                worker.reply(envelope=(frame.encode(), b""))
            case ["replies", "too", "much"]:
                worker.reply_too_much()
            case ["fails", code, *reason]:
                worker.fail(int(code), " ".join(reason))
            case ["sends", "the", "frames", frames]:
                worker.send_frames(*frames.encode().split(b"|"))
            case ["says", "hello", *told]:
                worker.hello(**_settings(told))
            case ["says", "leave"]:
                worker.ask_to_leave()
            case ["dies"]:
                worker.die()
            case ["comes", "back"]:
                worker.reconnect()
            case _:
                raise ValueError(f"what does a worker do that {' '.join(words)}?")

    def _cancel(self, request: str) -> None:
        if not self.stage.cancel((BOOT + int(request[1:]).to_bytes(6)).hex()):
            self.stage.tell("there is no such request")

    def _restart(self) -> None:
        self.stage.restart(BOOT[:-3] + b"two")
        self.clients.clear()

    def _counters(self) -> None:
        self.stage.tell(" ".join(f"{name}={count}" for name, count in self.stage.counts.items()))

    def _worker_states(self) -> None:
        for worker in self.workers.values():
            if not worker.gone:
                peer = worker.peer
                debts = f", {peer.debts} owed" if peer.debts else ""
                self.stage.tell(
                    f"{worker.name} {peer.state}, {peer.in_flight} of {peer.capacity} in flight{debts}"
                )

    def _client_states(self) -> None:
        for client in self.clients.values():
            if not client.gone:
                peer = client.peer
                state = "stalled" if peer.stalled else "paused" if peer.paused else "read"
                kept = f", {len(client.unread)} kept" if client.unread else ""
                self.stage.tell(
                    f"{client.name} {state}, {peer.waiting} waiting, {peer.in_flight} in flight{kept}"
                )


def play(text: str) -> str:
    """The scenario with the outputs as they are now."""
    scenario = Scenario()
    played = []
    for line in text.splitlines():
        if line.startswith(INDENT):
            continue
        played.append(line)
        if line and not line.startswith("#"):
            played += (INDENT + told for told in scenario.play(line))
    return "\n".join(played) + "\n"


def scenarios() -> list[Path]:
    """All scenario files, by name."""
    return sorted(Path(__file__).with_name("scenarios").glob("*.txt"))


def _settings(words: list[str]) -> dict[str, object]:
    pairs = (word.partition("=") for word in words)
    return {key: _value(value) for key, _, value in pairs}


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _asked(words: list[str]) -> tuple[list[bytes], tuple[bytes, ...], str | None]:
    """The bodies, the envelope before the empty frame, and the options."""
    envelope: tuple[bytes, ...] = ()
    options = None
    if "with" in words:
        at = words.index("with")
        words, options = words[:at], " ".join(words[at + 1 :])
    if "under" in words:
        at = words.index("under")
        words, envelope = words[:at], (words[at + 1].encode(),)
    return [_body(word) for word in words], envelope, options


def _body(word: str) -> bytes:
    text, _, size = word.partition(":")
    return padded(text.encode(), int(size)) if size else text.encode()


def _shown(text: bytes) -> str:
    short = text.rstrip(b".") + b"..." if text.endswith(b"....") else text
    return short.decode("ascii", "backslashreplace")


def _request(number: bytes) -> str:
    return f"r{int.from_bytes(number)}"


def _request_named(told: str) -> str:
    """Any broker's of these scenarios; the id of a dispatch that never was is `r?`."""
    raw = bytes.fromhex(told)
    return _request(raw[8:]) if raw.startswith(BOOT[:5]) else "r?"


def _word(value: object) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text
