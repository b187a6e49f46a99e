"""Who may enter: lists and directories of keys (`zqd.keys.authorized`)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.keys.test_pair import CERTIFICATE, OTHER, PUBLIC, SECRET, private, problem
from zqd.errors import ConfigError
from zqd.keys.authorized import Authorized, Entry, load_authorized
from zqd.keys.z85 import z85_decode, z85_encode
from zqd.zmtp.handshake import NotAuthorizedError


def names(authorized: Authorized) -> dict[str, str]:
    """Name by key in Z85."""
    return {z85_encode(key): entry.name for key, entry in authorized.entries.items()}


def test_a_list_of_keys_is_read(tmp_path: Path) -> None:
    """One a line; comments, empty lines and spaces do not matter, and two keys may have one name."""
    path = private(
        tmp_path / "clients",
        f"# who may ask\n\n  {PUBLIC}   alice\r\n{OTHER}\talice 2999-01-31\n#{OTHER} x\n{'#' * 40} y\n",
    )
    authorized = load_authorized(path)
    assert names(authorized) == {PUBLIC: "alice", OTHER: "alice"}
    assert authorized.entries[z85_decode(PUBLIC)] == Entry("alice", None, f"{path}: line 3")
    assert authorized.entries[z85_decode(OTHER)].expires == datetime(2999, 1, 31, tzinfo=UTC).timestamp()


def test_a_directory_of_certificates_is_read(tmp_path: Path) -> None:
    """Their names are the keys' names; what is no public certificate is passed over."""
    private(tmp_path / "alice.key", CERTIFICATE)
    private(
        tmp_path / "bob.key",
        f"metadata\n    expires = 2999-01-31T12:00:00Z\ncurve\n    public-key = '{OTHER}'\n",
    )
    private(tmp_path / "bob.key_secret", "nonsense")
    private(tmp_path / ".hidden.key", "nonsense")
    private(tmp_path / "README", "nonsense")
    tmp_path.chmod(0o755)
    authorized = load_authorized(str(tmp_path))
    assert names(authorized) == {PUBLIC: "alice", OTHER: "bob"}
    assert authorized.entries[z85_decode(OTHER)].expires == datetime(2999, 1, 31, 12, tzinfo=UTC).timestamp()


def test_an_empty_list_lets_nobody_in(tmp_path: Path) -> None:
    """As does none."""
    for authorized in (load_authorized(private(tmp_path / "none", "# nobody\n")), load_authorized(None)):
        with pytest.raises(NotAuthorizedError, match="is not authorized"):
            authorized.admit(z85_decode(PUBLIC))


def test_a_credential_may_hold_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    private(tmp_path / "clients", f"{PUBLIC} alice\n")
    assert names(load_authorized("clients")) == {PUBLIC: "alice"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (PUBLIC, "no name; expected KEY NAME [EXPIRY]"),
        (f"{PUBLIC} alice 2027-01-31 12:00", "too many words; expected KEY NAME [EXPIRY]"),
        (
            f"{PUBLIC[:-1]} alice",
            "the key is 39 characters long, where a key has 40; expected the public half of a pair",
        ),
        (f"{PUBLIC[:-1]}~ alice", "the key is not Z85 (RFC 32); expected the public half of a pair"),
        (
            f"{PUBLIC} -x",
            "'-x' is not a name; expected up to 64 letters, digits and ._@:+-, the first one a letter or a digit",
        ),
        (
            f"{PUBLIC} \u00e9ve",
            "'\\xe9ve' is not a name; expected up to 64 letters, digits and ._@:+-, the first one a letter or a digit",
        ),
        (
            f"{PUBLIC} alice soon",
            "'soon' is not an expiry; expected a day or a time in UTC, such as 2027-01-31 or 2027-01-31T12:00:00",
        ),
        (f"{PUBLIC} {SECRET}", "a key stands where another word belongs; expected KEY NAME [EXPIRY]"),
        (f"{PUBLIC} alice {SECRET}", "a key stands where another word belongs; expected KEY NAME [EXPIRY]"),
        (f"{OTHER} bob", "the same key as in {path}: line 1; expected each key once"),
    ],
)
def test_a_bad_line_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    """With its number."""
    path = private(tmp_path / "clients", f"{OTHER} first\n{line}\n")
    assert problem(load_authorized, path) == f"{path}: line 2: {reason.replace('{path}', path)}"


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    """One run shows them all."""
    path = private(tmp_path / "clients", "x y\nx y\nx\n")
    with pytest.raises(ConfigError) as raised:
        load_authorized(path)
    assert [line.split(": ")[1] for line in raised.value.problems] == ["line 1", "line 2", "line 3"]


def test_every_bad_certificate_is_named(tmp_path: Path) -> None:
    """One run shows them all here too."""
    tmp_path.chmod(0o755)
    private(tmp_path / "a.key", "nothing")
    private(tmp_path / "b b.key", CERTIFICATE)
    private(tmp_path / "c.key", CERTIFICATE)
    private(tmp_path / "d.key", CERTIFICATE)
    (tmp_path / "e.key").mkdir()
    with pytest.raises(ConfigError) as raised:
        load_authorized(str(tmp_path))
    assert [line.removeprefix(f"{tmp_path}/") for line in raised.value.problems] == [
        "a.key: has no public-key; expected a certificate of `zqctl keygen`",
        "b b.key: 'b b' is not a name; expected up to 64 letters, digits and ._@:+-, the first one a letter or a digit",
        f"d.key: the same key as in {tmp_path}/c.key; expected each key once",
        "e.key: is not a regular file; expected a file of keys",
    ]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('Expires = "2020-01-01"', "Expires"),
        ('EXPIRES = "2020-01-01"', "EXPIRES"),
        ("expiry = 2020-01-01", "expiry"),
        ("expire=2020-01-01", "expire"),
        ("key-expiration = 2020-01-01", "key-expiration"),
        ("expires: 2020-01-01", "expires"),
        ("expires 2020-01-01", "expires"),
        ('"expires" = 2020-01-01', '"expires"'),
    ],
)
def test_a_misspelt_expiry_is_refused(tmp_path: Path, line: str, name: str) -> None:
    """Whoever wrote it did not mean that the key is good for ever."""
    tmp_path.chmod(0o755)
    path = private(tmp_path / "alice.key", f"metadata\n    {line}\n{CERTIFICATE}")
    assert problem(load_authorized, str(tmp_path)) == (
        f"{path}: {name!a} is no property; expected expires = TIME"
    )


def test_words_about_an_expiry_are_none(tmp_path: Path) -> None:
    """In a comment, or in another property's value."""
    tmp_path.chmod(0o755)
    private(tmp_path / "alice.key", f'#expires = 2020\n# it expires\nnote = "expires = soon"\n{CERTIFICATE}')
    assert load_authorized(str(tmp_path)).entries[z85_decode(PUBLIC)].expires is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-01:00"])
def test_an_expiry_that_no_clock_shows_is_refused(tmp_path: Path, text: str) -> None:
    """In UTC its year has another number of digits."""
    path = private(tmp_path / "clients", f"{PUBLIC} alice {text}\n")
    assert problem(load_authorized, path).startswith(
        f"{path}: line 1: '{text}' is not an expiry; expected a day"
    )


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31T23:59:59"])
def test_the_first_and_the_last_expiry(tmp_path: Path, text: str) -> None:
    """Whatever is taken can be told and reckoned with."""
    authorized = load_authorized(private(tmp_path / "clients", f"{PUBLIC} alice {text}\n"))
    (entry,) = authorized.entries.values()
    assert entry.expires is not None
    assert f"{datetime.fromtimestamp(entry.expires, UTC):%m-%dT%H:%M}".startswith(text[5:16])
    assert (authorized.next_expiry() is None) == (text < "2000")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_list_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """They could let themselves in; that they can read it does no harm."""
    path = private(tmp_path / "clients", f"{PUBLIC} alice\n")
    os.chmod(path, mode)
    assert problem(load_authorized, path) == (
        f"{path}: can be written by others (mode {mode:04o}); expected `chmod go-w {path}`"
    )
    os.chmod(path, 0o644)
    assert names(load_authorized(path)) == {PUBLIC: "alice"}


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """Or a certificate in it."""
    path = private(tmp_path / "alice.key", CERTIFICATE)
    tmp_path.chmod(0o775)
    assert problem(load_authorized, str(tmp_path)).startswith(f"{tmp_path}: can be written by others")
    tmp_path.chmod(0o755)
    os.chmod(path, 0o664)
    assert problem(load_authorized, str(tmp_path)).startswith(f"{path}: can be written by others")


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    """It is not taken for an empty one."""
    assert problem(load_authorized, f"{tmp_path}/x") == (
        f"{tmp_path}/x: cannot be read (No such file or directory); expected a readable file"
    )


def test_a_key_is_admitted_until_it_expires() -> None:
    """From that moment on it is refused, with its name and when that was."""
    now = 1000.0
    key = z85_decode(PUBLIC)
    authorized = Authorized({key: Entry("alice", 1010.0, "x")}, anonymous=True, clock=lambda: now)
    assert (authorized.admit(key), authorized.next_expiry()) == ("alice", 10.0)
    now = 1010.0
    with pytest.raises(NotAuthorizedError) as raised:
        authorized.admit(key)
    assert str(raised.value) == f"key {PUBLIC} (alice) has expired at 1970-01-01T00:16:50Z"
    assert authorized.next_expiry() is None


def test_an_unknown_key_is_refused_by_its_z85() -> None:
    """So that it can be put on the list from the log."""
    with pytest.raises(NotAuthorizedError) as raised:
        Authorized({}).admit(z85_decode(OTHER))
    assert (str(raised.value), raised.value.told) == (f"key {OTHER} is not authorized", "400")


def test_any_key_may_be_admitted() -> None:
    """With the name that they share, where they have none of their own."""
    authorized = Authorized({z85_decode(PUBLIC): Entry("alice", None, "x")}, anonymous=True)
    assert (authorized.admit(z85_decode(PUBLIC)), authorized.admit(z85_decode(OTHER))) == (
        "alice",
        "anonymous",
    )
