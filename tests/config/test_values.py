import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqd.config import values


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1.5s", 1.5),
        (" 10 s ", 10.0),
        ("0", 0.0),
        ("2.5", 2.5),
        (30, 30.0),
        (0.25, 0.25),
    ],
)
def test_duration(written: object, seconds: float) -> None:
    """A duration is a number with a unit, or a plain number of seconds."""
    assert values.parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "s", "5 minutes", "30S", "1h30m", "٣s", "1e999s", "nan", "inf", float("nan"), float("inf")],
)
def test_bad_duration(written: object) -> None:
    """What is no finite number with a known unit is refused."""
    with pytest.raises(ValueError, match=r"is not a (finite )?duration"):
        values.parse_duration(written)


@pytest.mark.parametrize("written", [True, None, [], {}, 10**400, -(10**400)])
def test_duration_of_another_type(written: object) -> None:
    """Only strings and numbers that a float can hold are durations; true is no number."""
    with pytest.raises(ValueError, match="duration"):
        values.parse_duration(written)


@given(st.floats(min_value=0, max_value=1e12))
def test_duration_round_trip(seconds: float) -> None:
    """A formatted duration parses to the very same float."""
    assert values.parse_duration(values.format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.5, "500ms"),
        (1.5, "1.5s"),
        (90.0, "90s"),
        (300.0, "5m"),
        (7200.0, "2h"),
        (86400.0, "1d"),
    ],
)
def test_duration_is_written_for_people(seconds: float, text: str) -> None:
    """A duration is written in the largest unit that makes it whole."""
    assert values.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("64MiB", 64 << 20),
        ("10kB", 10_000),
        ("1GiB", 1 << 30),
        ("1.5GiB", 3 << 29),
        ("1 KiB", 1024),
        ("1kib", 1024),
        ("4096", 4096),
        ("4096B", 4096),
        ("1_000", 1000),
        (4096, 4096),
    ],
)
def test_size(written: object, size: int) -> None:
    """A size is a number with a decimal or binary unit, or a plain number of bytes."""
    assert values.parse_size(written) == size


@pytest.mark.parametrize("written", ["", "MiB", "64M", "64 mebibytes", "9" * 5000, True, 1.5, None, [], {}])
def test_bad_size(written: object) -> None:
    """What is no number with a known unit is refused, the ambiguous M included."""
    with pytest.raises(ValueError, match="is not a size"):
        values.parse_size(written)


def test_size_of_half_a_byte() -> None:
    """A size must come out as whole bytes."""
    with pytest.raises(ValueError, match=r'"0\.3KiB" is not a whole number of bytes'):
        values.parse_size("0.3KiB")


@given(st.integers(min_value=0, max_value=1 << 45))
def test_size_round_trip(size: int) -> None:
    """A formatted size parses to the same number of bytes."""
    assert values.parse_size(values.format_size(size)) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1500, "1500"), (10_000, "10kB"), (64 << 20, "64MiB"), (1 << 40, "1TiB")]
)
def test_size_is_written_for_people(size: int, text: str) -> None:
    """A size is written in the largest unit that makes it whole."""
    assert values.format_size(size) == text


@pytest.mark.parametrize("written", [True, 1.0, "5", None])
def test_whole_number_in_toml(written: object) -> None:
    """In TOML a whole number is an integer and nothing else."""
    with pytest.raises(ValueError, match="is not a whole number"):
        values.parse_int(written)


@pytest.mark.parametrize(("text", "number"), [("5", 5), (" -5 ", -5), ("10_000", 10_000)])
def test_whole_number_in_text(text: str, number: int) -> None:
    """In text a whole number is decimal digits, with TOML's sign and underscores."""
    assert values.parse_int_text(text) == number


@pytest.mark.parametrize("text", ["", "5.0", "0x10", "٣", "1__0", "9" * 5000])
def test_bad_whole_number_in_text(text: str) -> None:
    """Anything but a bearable run of decimal digits is no whole number."""
    with pytest.raises(ValueError, match="is not a whole number"):
        values.parse_int_text(text)


@pytest.mark.parametrize(("text", "truth"), [("true", True), ("false", False)])
def test_truth_in_text(text: str, truth: bool) -> None:
    """In text a truth value is TOML's word."""
    assert values.parse_bool_text(text) is truth


@pytest.mark.parametrize("text", ["", "yes", "True", "1"])
def test_bad_truth_in_text(text: str) -> None:
    """Other words are refused rather than guessed."""
    with pytest.raises(ValueError, match="is not true or false"):
        values.parse_bool_text(text)


@pytest.mark.parametrize("written", [0, 1, "true", None])
def test_truth_in_toml(written: object) -> None:
    """In TOML only true and false are truth values."""
    with pytest.raises(ValueError, match="is not true or false"):
        values.parse_bool(written)


def test_endpoints_in_text() -> None:
    """In text a list of endpoints is separated by commas."""
    assert values.parse_endpoints_text("tcp://127.0.0.1:1, ipc:///run/x.sock") == (
        "tcp://127.0.0.1:1",
        "ipc:///run/x.sock",
    )


@pytest.mark.parametrize("written", ["tcp://127.0.0.1:1", 5, {}, None])
def test_endpoints_are_a_list(written: object) -> None:
    """A single endpoint without brackets is no list."""
    with pytest.raises(ValueError, match="is not a list of endpoints"):
        values.parse_endpoints(written)


def test_no_endpoints() -> None:
    """A side without any endpoint is refused."""
    with pytest.raises(ValueError, match="the list is empty"):
        values.parse_endpoints([])


def test_endpoint_of_another_type() -> None:
    """A list's items must be strings."""
    with pytest.raises(ValueError, match="5559 is not an endpoint"):
        values.parse_endpoints([5559])


@pytest.mark.parametrize("text", ["ipc:///run/\0.sock", "ipc:///run/\udc80.sock", "ipc:///run/\n.sock"])
def test_endpoint_of_unprintable_text(text: str) -> None:
    """An endpoint that no log could show is refused."""
    with pytest.raises(ValueError, match="cannot be printed"):
        values.parse_endpoint(text)


def test_bad_endpoint_is_named() -> None:
    """A message about an endpoint repeats the endpoint."""
    with pytest.raises(ValueError, match="tcp:/127"):
        values.parse_endpoint("tcp:/127.0.0.1:5559")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("::ffff:127.0.0.1", "127.0.0.1/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("::1", "::1/128"),
        ("::fffe:10.0.0.1", "::fffe:a00:1/128"),
    ],
)
def test_ipv4_in_ipv6(written: str, text: str) -> None:
    """A network of IPv4 addresses that are written as IPv6 ones is that of the IPv4 ones: peers are known by these."""
    assert values.parse_networks([written]) == (text,)


@pytest.mark.parametrize("written", ["fe80::1%lo", "fe80::%eth0/64", "::ffff:10.0.0.1%1"])
def test_network_with_a_zone(written: str) -> None:
    """It would match nobody, and a deny list would let them in."""
    with pytest.raises(ValueError, match="has a zone, and would match nobody"):
        values.parse_networks([written])


@pytest.mark.parametrize(("written", "text"), [("", ""), (" a b ", "a b"), ("ä", "ä")])
def test_text(written: str, text: str) -> None:
    """A string is taken without the blanks around it."""
    assert values.parse_text(written) == text


@pytest.mark.parametrize("written", [5, None, ["a"], {}, True])
def test_text_of_another_type(written: object) -> None:
    """What TOML does not call a string is none."""
    with pytest.raises(ValueError, match="is not a string"):
        values.parse_text(written)


@pytest.mark.parametrize("written", ["a\nb", "\0", "\udc80"])
def test_unprintable_text(written: str) -> None:
    """A string that would spoil a line of a log is refused."""
    with pytest.raises(ValueError, match="cannot be printed"):
        values.parse_text(written)


@pytest.mark.parametrize(
    ("written", "text"), [("", ""), (" www-data ", "www-data"), ("1000", "1000"), (1000, "1000"), (0, "0")]
)
def test_account(written: object, text: str) -> None:
    """A user or group is a name or a number, in TOML with or without quotes."""
    assert values.parse_account(written) == text


@pytest.mark.parametrize("written", [True, 1.5, -1, None, ["a"], {}])
def test_bad_account(written: object) -> None:
    """What is neither a name nor a number is no user and no group."""
    with pytest.raises(ValueError, match="is not a name or a number"):
        values.parse_account(written)


def test_unprintable_account() -> None:
    """A name that would spoil a line of a log is refused."""
    with pytest.raises(ValueError, match="cannot be printed"):
        values.parse_account("a\nb")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("a  b", ("a", "b")),
        ("sh -c 'a b' \"\" \\'", ("sh", "-c", "a b", "", "'")),
        ("printf 'a\nb'", ("printf", "a\nb")),
    ],
)
def test_words_in_text(text: str, words: tuple[str, ...]) -> None:
    """In text a list of strings is quoted as for a shell."""
    assert values.parse_words_text(text) == words


def test_words_in_toml() -> None:
    """In TOML the words of a list are as they stand there."""
    assert values.parse_words(["a b", "'"]) == ("a b", "'")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("a b", '"a b" is not a list of strings'),
        ({}, "a table is not a list of strings"),
        (["a", 5], "5 is not a string"),
        (["a\0"], "has a NUL or bytes that are not UTF-8"),
        (["\udc80"], "has a NUL or bytes that are not UTF-8"),
    ],
)
def test_bad_words(written: object, problem: str) -> None:
    """What no program can be started with, or no file can say, is refused."""
    with pytest.raises(ValueError, match=problem):
        values.parse_words(written)


def test_every_bad_item_is_named() -> None:
    """Of any list."""
    with pytest.raises(ValueError, match=r"'x' is no endpoint: .*; 5 is not an endpoint"):
        values.parse_endpoints(["x", "tcp://127.0.0.1:1", 5])
    with pytest.raises(ValueError, match=r'"a" is not an address .*; "b" is not'):
        values.parse_networks_text("a,10.0.0.0/8,b")
    with pytest.raises(ValueError, match=r"^5 is not a string; true is not a string$"):
        values.parse_words([5, "x", True])


def test_words_without_an_end() -> None:
    """A quotation that does not end is refused."""
    with pytest.raises(ValueError, match='"\'a": No closing quotation'):
        values.parse_words_text("'a")


@pytest.mark.parametrize("written", ["0660", "660", "0o660", " 0660 "])
def test_mode(written: object) -> None:
    """A mode is octal digits."""
    assert values.parse_mode(written) == 0o660


@pytest.mark.parametrize("written", ["", "rw-rw----", "0x1b0", "0680", "٣", "9" * 5000, 1.0, None, [], {}])
def test_bad_mode(written: object) -> None:
    """What is no octal number is no mode."""
    with pytest.raises(ValueError, match="is not a file mode"):
        values.parse_mode(written)


@pytest.mark.parametrize("written", [440, 400, 0o660, 0, -1, True])
def test_mode_without_quotes(written: object) -> None:
    """A number is none: 440 would be 0670, which lets the group write."""
    with pytest.raises(ValueError, match="is not a string of octal digits"):
        values.parse_mode(written)


@given(st.integers(min_value=0, max_value=0o777))
def test_mode_round_trip(mode: int) -> None:
    """A formatted mode has four octal digits and parses to the same mode."""
    text = values.format_mode(mode)
    assert len(text) == 4
    assert values.parse_mode(text) == mode


@pytest.mark.parametrize(
    "written", ["", "/etc/zqd/zqd.key_secret", " /a b/ä ", "zqd.key_secret", "Zqd-1@x_y.z", "/" + "a" * 39]
)
def test_key_file(written: str) -> None:
    """A file of keys is an absolute path or a credential's name, or nothing."""
    assert values.parse_key_file(written) == written.strip()


SECRET = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"  # noqa: S105 - of zmq_curve(7)


@pytest.mark.parametrize(
    "written",
    [
        *(SECRET, SECRET[1:], SECRET + "x", f'"{SECRET}"', SECRET[:-2], SECRET + "xy", SECRET[:20]),
        *("/" + SECRET[1:], SECRET[:20] + "/" + SECRET[21:], f"{SECRET}\n{SECRET}", f"/{SECRET}\n"),
        *(SECRET.encode(), [SECRET], "keys/x", "./keys", "../x", "a b", "ä", "/a\0"),
    ],
)
def test_what_is_no_key_file(written: object) -> None:
    """A key itself, nearly one, a relative path: refused without being repeated, even in parts."""
    with pytest.raises(ValueError, match=r"^it is (a key itself|neither|not a string)") as refused:
        values.parse_key_file(written)
    assert SECRET[2:10] not in str(refused.value)


@pytest.mark.parametrize("written", ["stderr", "syslog", "/var/log/zqd.log"])
def test_log_target(written: str) -> None:
    """A log goes to one of two words or to an absolute path."""
    assert values.parse_log_target(written) == written


@pytest.mark.parametrize("written", ["", "stdout", "zqd.log", "./zqd.log", "file:///zqd.log"])
def test_bad_log_target(written: str) -> None:
    """Any other word, or a path that depends on where the daemon was started, is refused."""
    with pytest.raises(ValueError, match="is not a place for a log"):
        values.parse_log_target(written)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_toml_string_round_trip(text: str) -> None:
    """Any text that TOML can hold comes back from a written TOML string."""
    assert tomllib.loads(f"key = {values.toml_string(text)}") == {"key": text}


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.integers()))
def test_shown_fits_a_line(value: object) -> None:
    """A message shows any value in at most a line of printable characters."""
    text = values.shown(value)
    assert text.isprintable()
    assert len(text) < 1000


def test_shown_number_without_end() -> None:
    """A number that Python refuses to write is shown in words."""
    assert values.shown(16**10_000) == "a number of more than 60 digits"
