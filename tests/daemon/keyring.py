"""Keys of the daemon's peers in files, and peers that know CURVE: libzmq's options, and one by hand."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.faults.raw import RawPeer
from tests.support.processes import wait_for
from tests.zmtp import peers
from tests.zmtp.curve_client import CurveClient
from zqd.keys.pair import load_public, load_secret, write_pair
from zqd.keys.z85 import z85_encode
from zqd.zmtp.frames import COMMAND, encode_frame


class Keyring:
    """Pairs by name, zqd's own among them, and the list of those that may enter."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder / "keys"
        self.folder.mkdir()
        self.list = folder / "authorized"
        for name in ("zqd", "alice", "bob", *names):
            self.make(name)
        self.authorize("alice", "bob")

    def make(self, name: str) -> None:
        """One pair more."""
        write_pair(self.folder, name)

    def public(self, name: str) -> str:
        """In Z85."""
        return z85_encode(load_public(str(self.folder / f"{name}.key")))

    def secret_path(self, name: str) -> Path:
        """Of its certificate."""
        return self.folder / f"{name}.key_secret"

    def authorize(self, *names: str, until: float | None = None) -> None:
        """Only these may enter, until then (seconds since the epoch)."""
        expiry = "" if until is None else f" {datetime.fromtimestamp(until, UTC).isoformat()}"
        self.list.write_text("".join(f"{self.public(name)} {name}{expiry}\n" for name in names))

    def options(self, name: str = "alice", server: str = "zqd") -> dict[str, bytes]:
        """A libzmq socket's, with this pair and that server's key."""
        pair = load_secret(str(self.secret_path(name)))
        return {
            "curve_publickey": z85_encode(pair.public).encode(),
            "curve_secretkey": z85_encode(pair.secret).encode(),
            "curve_serverkey": self.public(server).encode(),
        }

    def settings(self, *sides: str, server: str = "zqd", more: str = "") -> str:
        """The configuration of a queue with these sides secured."""
        lines = [
            f'{side}_curve_secret = "{self.secret_path(server)}"\n{side}_authorized_keys = "{self.list}"\n'
            for side in sides or ("frontend", "backend")
        ]
        return DEFAULT + "".join(lines) + more

    def client(self, name: str = "alice") -> CurveClient:
        """A client by hand, with a transient pair of its own."""
        pair = load_secret(str(self.secret_path(name)))
        return CurveClient(
            keys=(pair.public, pair.secret),
            server_key=load_public(self.public("zqd")),
            seed=random.randbytes(8).hex(),
        )


class CurvePeer(RawPeer):
    """A connection whose bytes are those of a `CurveClient`. `said` has all that was sent after the greeting."""

    def __init__(self, endpoint: str, client: CurveClient) -> None:
        super().__init__(endpoint)
        self.client = client
        self.said: list[bytes] = []

    @property
    def address(self) -> str:
        """Ours, as zqd tells of it."""
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def greet(self) -> None:
        """Greeting, both ways."""
        self.send(peers.greeting(mechanism=b"CURVE"))
        self._fill(64)
        del self._buffer[:64]

    def tell(self, body: bytes) -> None:
        """One command of the handshake."""
        self.said.append(encode_frame(body, COMMAND))
        self.send(self.said[-1])

    def say(self, body: bytes) -> bytes:
        """The same; the body of what answers it."""
        self.tell(body)
        flags, answer = self.receive_frame()
        assert flags & COMMAND
        return answer

    def welcome(self) -> None:
        """As far as WELCOME."""
        self.greet()
        self.client.take_welcome(self.say(self.client.hello()))

    def establish(self, socket_type: bytes = b"DEALER") -> None:
        """The whole handshake."""
        self.welcome()
        metadata = peers.metadata({b"Socket-Type": socket_type, b"Identity": b""})
        self.client.take_ready(self.say(self.client.initiate(metadata=metadata)))

    def carried(self) -> tuple[int, bytes]:
        """The next frame of the traffic: MESSAGE's flags, and the body that it carries."""
        flags, body = self.receive_frame()
        ((carried, content),) = self.client.take(encode_frame(body, flags & ~2))
        return carried, content


def refusals(zqd: ConfiguredZqd, address: str) -> list[str]:
    """The reasons for which this address was refused."""
    return [line["reason"] for line in zqd.log("peer.refused") if line["address"] == address]


def refusal(zqd: ConfiguredZqd, address: str) -> str:
    """The only one, when it comes."""
    (reason,) = wait_for(lambda: refusals(zqd, address), f"the refusal of {address}")
    return reason


def assert_no_fault(zqd: ConfiguredZqd) -> None:
    """Nothing that a peer does is a fault of zqd."""
    assert not zqd.log("zqd.fault")
    assert "Traceback" not in zqd.log_path.read_text()


def both_there(zqd: ConfiguredZqd, clients: int = 1, workers: int = 1) -> list[dict[str, Any]]:
    """Wait until so many are connected; the rows of the clients."""
    zqd.wait_until("the peers", lambda queue: (queue["clients"], queue["workers"]) == (clients, workers))
    rows = zqd.control("clients")
    assert isinstance(rows, list)
    return rows
