"""Whatever a peer does to CURVE: no exception, no message that was not sent, bounded memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zmtp import peers
from tests.zmtp.curve_client import CurveClient, accepted, connected, new_server, say, split_frames
from tests.zmtp.peers import feed, outcome, take_outbox
from zqd.zmtp.connection import Connection, Message
from zqd.zmtp.curve import CurveCipher
from zqd.zmtp.frames import COMMAND, encode_frame, encode_message
from zqd.zmtp.handshake import MAX_HANDSHAKE_COMMAND
from zqd.zmtp.opening import Phase

LIMIT = 200

# The same examples in every run: a failure is everybody's, and `print_blob` shows how to repeat it.
budget = settings(derandomize=True, database=None, deadline=None, print_blob=True)

# Changes to a command: put so many bytes in place of so many others.
changes = st.tuples(st.integers(0, 400), st.integers(0, 40), st.binary(max_size=40))
cut_places = st.lists(st.integers(0, 1 << 12), max_size=8)


def changed(data: bytes, change: tuple[int, int, bytes]) -> bytes:
    """`data`, damaged."""
    at, gone, put = change
    at %= len(data) + 1
    return data[:at] + put + data[at + gone :]


def check(connection: Connection) -> None:
    """Assert what holds after each call, failed or not."""
    assert (connection.error is None) == (connection.phase is not Phase.FAILED)
    assert connection.error is None or (connection.buffered == 0 and connection.error.isprintable())
    assert connection.more or connection.buffered <= LIMIT + MAX_HANDSHAKE_COMMAND + 9


def run(connection: Connection, data: bytes, cuts: list[int]) -> list[Message]:
    """Feed `data` cut in these places."""
    messages = feed(connection, data, sorted(cut % (len(data) + 1) for cut in cuts))
    check(connection)
    return messages


@settings(budget, max_examples=400)
@given(changes, cut_places)
def test_a_damaged_hello(change: tuple[int, int, bytes], cuts: list[int]) -> None:
    """Is refused unless nothing was changed."""
    connection = accepted(new_server(), limit=LIMIT)
    connection.receive(peers.greeting(mechanism=b"CURVE"))
    take_outbox(connection)
    hello = CurveClient().hello()
    damaged = changed(hello, change)
    run(connection, encode_frame(damaged, COMMAND), cuts)
    assert (connection.error is None) == (damaged == hello)


@settings(budget, max_examples=600)
@given(changes, cut_places)
def test_a_damaged_initiate(change: tuple[int, int, bytes], cuts: list[int]) -> None:
    """The same."""
    connection, client = accepted(new_server(), limit=LIMIT), CurveClient()
    connection.receive(peers.greeting(mechanism=b"CURVE"))
    take_outbox(connection)
    client.take_welcome(say(connection, client.hello()))
    initiate = client.initiate()
    damaged = changed(initiate, change)
    run(connection, encode_frame(damaged, COMMAND), cuts)
    assert (connection.phase is Phase.TRAFFIC) == (damaged == initiate)
    assert (connection.error is None) == (damaged == initiate)


@settings(budget, max_examples=300)
@given(st.lists(st.binary(max_size=300), max_size=4), cut_places)
def test_any_commands_in_the_handshake(bodies: list[bytes], cuts: list[int]) -> None:
    """None of them leads into traffic."""
    connection = accepted(new_server(), limit=LIMIT)
    names = (b"\5HELLO", b"\x08INITIATE", b"\7MESSAGE", b"\5ERROR", b"")
    sent = b"".join(
        encode_frame(names[number % 5] + body, COMMAND) for number, body in enumerate(bodies, len(bodies))
    )
    run(connection, peers.greeting(mechanism=b"CURVE") + sent, cuts)
    assert connection.phase is not Phase.TRAFFIC


@settings(budget, max_examples=600)
@given(
    st.lists(st.lists(st.binary(max_size=60), min_size=1, max_size=4), min_size=1, max_size=5),
    st.lists(st.sampled_from(["keep", "drop", "repeat", "swap"]), max_size=12),
    cut_places,
)
def test_frames_dropped_repeated_and_swapped(
    sent: list[list[bytes]], deeds: list[str], cuts: list[int]
) -> None:
    """Somebody between the peers can end the connection, or leave messages out; they never make one up or twice.

    Leaving out frames of a message is possible on a stream of numbered boxes only as RFC 26 defines them: rising, not
    consecutive. So what comes out is made of frames that were sent, each at most once and in their order.
    """
    client, connection = connected(limit=1 << 16)
    frames = [frame for bodies in sent for frame in reframed(client.messages(*bodies))]
    forged: list[bytes] = []
    for number, frame in enumerate(frames):
        deed = deeds[number] if number < len(deeds) else "keep"
        if deed == "swap" and forged:
            forged.insert(-1, frame)
        elif deed != "drop":
            forged += [frame] * (2 if deed == "repeat" else 1)
    messages = outcome(run(connection, b"".join(forged), cuts))
    if forged == frames:
        assert messages == [encode_message(bodies) for bodies in sent]
        assert connection.error is None
    else:
        order = iter([body for bodies in sent for body in bodies])
        came = [body for raw in messages if isinstance(raw, bytes) for _, body in split_frames(raw)]
        assert all(body in order for body in came)
    if len(set(forged)) < len(forged):
        assert connection.error is not None


def reframed(data: bytes) -> list[bytes]:
    """Each frame of some traffic."""
    return [encode_frame(body, flags) for flags, body in split_frames(data)]


@settings(budget, max_examples=600)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), changes, cut_places)
def test_damaged_traffic(bodies: list[bytes], change: tuple[int, int, bytes], cuts: list[int]) -> None:
    """What comes out was sent, or nothing does."""
    client, connection = connected(limit=LIMIT)
    hello = client.messages(b"", b"hello")
    sent = client.messages(b"", *bodies)
    messages = outcome(run(connection, hello + changed(sent, change), cuts))
    assert messages[0] == encode_message([b"", b"hello"])
    raw = encode_message([b"", *bodies])
    assert [message for message in messages[1:] if isinstance(message, bytes)] in ([], [raw])


@settings(budget, max_examples=300)
@given(st.binary(max_size=400), cut_places)
def test_noise_in_traffic(noise: bytes, cuts: list[int]) -> None:
    """Nothing comes of it."""
    _, connection = connected(limit=LIMIT)
    assert run(connection, noise, cuts) == []


def test_the_overhead_is_what_a_frame_grows_by_at_most() -> None:
    """Headers included, for bodies of every size around where a header grows."""
    cipher = CurveCipher(bytes(32), 0, 0)
    grown = {
        len(encode_frame(cipher.encode(0, bytes(size)))) - len(encode_frame(bytes(size)))
        for size in range(400)
    }
    assert grown == {33, CurveCipher.overhead}
