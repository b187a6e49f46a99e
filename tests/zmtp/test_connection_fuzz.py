"""Whatever a peer sends: no exception, bounded memory, the same result in every cut, silence behind an error."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zmtp import peers
from tests.zmtp.peers import Outcome, XorMechanism, outcome, take_outbox
from zqd.zmtp.connection import ANNOUNCED_FACTOR, BATCH, Connection, Message, Oversize
from zqd.zmtp.frames import (
    COMMAND,
    LARGE,
    LONG,
    MORE,
    decode_message,
    encode_frame,
    encode_message,
    envelope_of,
)
from zqd.zmtp.handshake import MAX_HANDSHAKE_COMMAND
from zqd.zmtp.opening import Phase

LIMIT = 200
GREETINGS = [
    peers.greeting() + peers.ready(),
    peers.greeting(minor=0) + peers.ready(b"DEALER", b"me"),
    peers.v2_greeting(3),
]

# The same examples in every run: a failure is everybody's, and `print_blob` shows how to repeat it.
budget = settings(derandomize=True, database=None, deadline=None, print_blob=True)

Result = tuple[Outcome, str | None, bytes, Phase]


@pytest.fixture(scope="module", autouse=True, params=[LARGE, 32], ids=["large", "all large"])
def large(request: pytest.FixtureRequest) -> Iterator[None]:
    """What these tests send is small: once more with a measure by which much of it is large, and comes in pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zqd.zmtp.connection.LARGE", request.param)
        yield


def run(connection: Connection, data: bytes, cuts: list[int]) -> Result:
    """Feed `data` cut in these places and assert what must hold after each call."""
    messages: list[bytes | tuple[bytes, int]] = []
    for start, end in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        piece = data[start:end]
        while True:
            held, ended = connection.buffered, connection.error
            got = connection.receive(piece)
            assert len(got) <= BATCH
            for message in got:
                check_message(message, connection)
            assert connection.buffered <= held + len(piece)
            assert connection.more or connection.buffered <= LIMIT + MAX_HANDSHAKE_COMMAND + 9
            if ended is not None:
                assert (got, connection.error, connection.more) == ([], ended, False)
            assert (connection.error is None) == (connection.phase is not Phase.FAILED)
            assert connection.error is None or connection.buffered == 0
            messages += outcome(got)
            if not connection.more:
                break
            piece = b""
    return messages, connection.error, take_outbox(connection), connection.phase


def check_message(message: Message, connection: Connection) -> None:
    """Assert that a message is what its receiver may count on."""
    if isinstance(message, Oversize):
        assert envelope_of(message.envelope) == message.envelope
        assert connection.max_message_size < message.announced
        assert message.announced <= ANNOUNCED_FACTOR * connection.max_message_size
    else:
        assert len(message) <= connection.max_message_size
        assert decode_message(bytes(message))


def run_both(data: bytes, cuts: list[int]) -> Result:
    """What comes of `data`, which must be the same cut and whole."""
    cut = run(peers.fresh(limit=LIMIT), data, cuts)
    whole = run(peers.fresh(limit=LIMIT), data, [])
    assert cut == whole
    return cut


cut_places = st.lists(st.integers(0, 1 << 16), max_size=12)

# What may be in a session

frames = st.one_of(
    st.builds(encode_frame, st.binary(max_size=20), st.sampled_from([0, MORE])),
    st.builds(
        encode_frame, st.sampled_from([b"", bytes(90), bytes(255), bytes(300)]), st.sampled_from([0, MORE])
    ),
    st.just(encode_frame(b"", MORE)),
    st.builds(
        lambda body, flags: bytes((flags | LONG,)) + len(body).to_bytes(8, "big") + body,
        st.binary(max_size=9),
        st.sampled_from([0, MORE]),
    ),
)
commands = st.one_of(
    st.builds(peers.ping, st.binary(max_size=18), st.integers(0, 0xFFFF)),
    st.builds(peers.command_frame, st.sampled_from([b"PONG", b"READY", b"OTHER"]), st.binary(max_size=20)),
    st.just(peers.ping(b"context")),
)
headers = st.builds(
    lambda flags, size: bytes((flags | LONG,)) + size.to_bytes(8, "big"),
    st.integers(0, 255),
    st.one_of(
        st.integers(0, 400), st.integers(3000, 9000), st.sampled_from([1 << 32, 1 << 63, (1 << 64) - 1])
    ),
)
traffic = st.lists(st.one_of(frames, frames, commands), max_size=20).map(b"".join)


@settings(budget, max_examples=500)
@given(st.binary(max_size=300), cut_places)
def test_arbitrary_bytes_from_the_beginning(data: bytes, cuts: list[int]) -> None:
    """Bytes of no meaning instead of a greeting."""
    run_both(data, cuts)


@settings(budget, max_examples=500)
@given(st.sampled_from(GREETINGS), st.binary(max_size=300), cut_places)
def test_arbitrary_bytes_in_traffic(greeting: bytes, data: bytes, cuts: list[int]) -> None:
    """Bytes of no meaning behind a good handshake."""
    run_both(greeting + data, cuts)


@settings(budget, max_examples=500)
@given(st.binary(max_size=100), st.integers(0, 5), cut_places)
def test_arbitrary_bytes_in_a_handshake(data: bytes, keep: int, cuts: list[int]) -> None:
    """Bytes of no meaning behind a greeting, or behind the beginning of a READY."""
    run_both(peers.greeting() + peers.ready()[: keep * 7] + data, cuts)


@settings(budget, max_examples=1000)
@given(st.sampled_from(GREETINGS), st.lists(st.one_of(frames, commands, headers), max_size=12), cut_places)
def test_frames_in_any_order(greeting: bytes, parts: list[bytes], cuts: list[int]) -> None:
    """Well-formed frames and commands that together need not make sense, and headers that promise anything."""
    run_both(greeting + b"".join(parts), cuts)


@settings(budget, max_examples=1000)
@given(
    st.sampled_from(GREETINGS),
    traffic,
    st.lists(
        st.tuples(st.integers(0, 1 << 16), st.integers(0, 2), st.integers(0, 255)), min_size=1, max_size=4
    ),
    cut_places,
)
def test_a_damaged_session(
    greeting: bytes, sent: bytes, damage: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    """Bytes changed, lost and doubled anywhere in a session that was good."""
    session = bytearray(greeting + sent)
    for where, kind, byte in damage:
        at = where % len(session)
        session[at : at + 1] = (bytes((byte,)), b"", bytes((byte, session[at])))[kind]
    run_both(bytes(session), cuts)


def test_many_damaged_sessions() -> None:
    """The same in bulk, from a fixed seed: what hypothesis is too slow to try."""
    random = Random(20)
    parts = [
        encode_message([b"", b"hello"]),
        encode_message([b"hop", b"", b"x" * 90, b"y" * 90]),
        encode_message([b"hop", b"", b"x" * 300, b"y" * 90]),
        encode_frame(b"", MORE) + peers.ping(b"within") + encode_frame(b"x"),
        encode_message([b"", b"", b"x" * 1000]),
        peers.ping(b"ctx"),
        peers.pong(),
    ]
    for _ in range(10_000):
        session = bytearray(random.choice(GREETINGS) + b"".join(random.choices(parts, k=random.randrange(9))))
        for _ in range(random.randrange(4)):
            at = random.randrange(len(session))
            session[at : at + random.randrange(3)] = random.choice(
                (b"", random.randbytes(1), b"\x01\x00", b"\x03")
            )
        run_both(bytes(session), [random.randrange(1 << 16) for _ in range(random.randrange(8))])


@settings(budget, max_examples=500)
@given(st.lists(st.one_of(frames, commands, headers), max_size=8), st.binary(max_size=10), cut_places)
def test_secured_frames_in_any_order(parts: list[bytes], damage: bytes, cuts: list[int]) -> None:
    """The same behind a mechanism: some frames well carried, some not."""
    cipher = peers.Xor()
    sent = [peers.greeting(mechanism=b"XOR"), peers.command_frame(b"HELLO")]
    properties = peers.metadata({b"Socket-Type": b"REQ"})
    sent.append(peers.command_frame(b"INITIATE", cipher.encode(0, properties)))
    for number, part in enumerate(parts):
        sent.append(encode_frame(cipher.encode(part[0] & (MORE | COMMAND), part[2:])) if number < 6 else part)
    session = b"".join(sent) + damage
    cut = run(peers.fresh(limit=LIMIT, mechanism=XorMechanism(b"ROUTER")), session, cuts)
    assert cut == run(peers.fresh(limit=LIMIT, mechanism=XorMechanism(b"ROUTER")), session, [])


# Good sessions: what must come out is known from what went in

good_messages = st.lists(st.binary(max_size=40), max_size=6).map(lambda bodies: [b"", *bodies, b"end"])
good_pings = st.lists(st.binary(max_size=16), max_size=2)


@settings(budget, max_examples=700)
@given(st.lists(st.tuples(good_messages, good_pings), max_size=10), cut_places)
def test_a_good_session(parts: list[tuple[list[bytes], list[bytes]]], cuts: list[int]) -> None:
    """Every message comes out in order, raw or as an oversize one, and every PING within them is answered."""
    sent = [peers.greeting(), peers.ready()]
    expected: Outcome = []
    pongs = b""
    for bodies, contexts in parts:
        first, *others = [encode_frame(body, MORE) for body in bodies[:-1]] + [encode_frame(bodies[-1])]
        sent += [first, *map(peers.ping, contexts), *others]
        pongs += b"".join(map(peers.pong, contexts))
        raw = encode_message(bodies)
        expected.append(raw if len(raw) <= LIMIT else (b"\x01\x00", len(raw)))
    messages, error, outbox, phase = run_both(b"".join(sent), cuts)
    assert (messages, error, phase) == (expected, None, Phase.TRAFFIC)
    assert outbox.endswith(peers.command_frame(b"READY", peers.metadata({b"Socket-Type": b"ROUTER"})) + pongs)
