from __future__ import annotations

import pytest
import zmq.utils.z85
from hypothesis import given, settings
from hypothesis import strategies as st

from zqd.keys.z85 import looks_like_key, z85_decode, z85_encode

SECRET = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"  # noqa: S105 - of zmq_curve(7)


def test_z85_is_that_of_the_rfc() -> None:
    """RFC 32's example."""
    assert z85_encode(bytes.fromhex("864fd26fb559f75b")) == "HelloWorld"
    assert z85_decode("HelloWorld") == bytes.fromhex("864fd26fb559f75b")


@settings(derandomize=True, database=None, deadline=None)
@given(st.binary(max_size=15).map(lambda data: data * 4))
def test_z85_is_that_of_pyzmq(data: bytes) -> None:
    """Both ways."""
    assert z85_encode(data).encode() == zmq.utils.z85.encode(data)
    assert z85_decode(z85_encode(data)) == data


@pytest.mark.parametrize("text", ["HelloWorl", "Hello Worl", "Hell\u00f6", "#0000", "%nSc1", "     "])
def test_what_is_no_z85_is_refused(text: str) -> None:
    """A wrong length, a wrong character, more than 32 bits in five characters; the text is not repeated."""
    with pytest.raises(ValueError, match="not Z85") as raised:
        z85_decode(text)
    assert text not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        SECRET[1:],
        SECRET + "x",
        f'"{SECRET}"',
        f" '{SECRET}'\n",
        SECRET.replace("c", "/"),
        "/" + SECRET[1:],
    ],
)
def test_a_key_is_known_for_one(text: str) -> None:
    """Give or take a character, quoted or not, with a slash in it or not."""
    assert looks_like_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zqd.key_secret",
        "/etc/zqd/keys/zqd.key_secret",
        "/srv/keys/Broker-7.of-rack-12.example.org",
        "broker-7.rack-12.frankfurt.de.example.org",
        "/srv/the keys (of ours)/broker.key_secret",
        SECRET[:-2],
        SECRET + "xy",
    ],
)
def test_a_file_is_not_taken_for_a_key(text: str) -> None:
    """Not even one whose name is as long as a key."""
    assert not looks_like_key(text)
