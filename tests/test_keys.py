from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zmq
import zmq.auth
import zmq.utils.z85
from hypothesis import given, settings
from hypothesis import strategies as st

from zqd.errors import ConfigError, UnavailableError, UsageError
from zqd.keys import (
    Authorized,
    Entry,
    KeyPair,
    load_authorized,
    load_secret,
    locate,
    write_pair,
    z85_decode,
    z85_encode,
)
from zqd.zmtp.handshake import NotAuthorizedError

# The pair of zmq_curve(7), "TEST KEY VALUES".
PUBLIC = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
SECRET = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"  # noqa: S105 - published
OTHER = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"

CERTIFICATE = f'#  a comment\n\nmetadata\n    name = "x"\ncurve\n    public-key = "{PUBLIC}"\n'
SECRET_CERTIFICATE = f'{CERTIFICATE}    secret-key = "{SECRET}"\n'


def private(path: Path, text: str) -> str:
    """A file that only its owner may read; its path."""
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def problem(load: Callable[[str], object], name: str) -> str:
    """The one line that loading fails with, which never has a secret in it."""
    with pytest.raises(ConfigError) as raised:
        load(name)
    (line,) = raised.value.problems
    assert SECRET not in line
    assert SECRET[:20] not in line
    return line


# Z85


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


# Our own pair


@pytest.mark.parametrize(
    "text",
    [
        SECRET_CERTIFICATE,
        SECRET,
        f"  {SECRET}\n",
        SECRET_CERTIFICATE.replace("    ", ""),
        f"secret-key={SECRET}\r\n#\r\n",
    ],
)
def test_a_secret_is_read(tmp_path: Path, text: str) -> None:
    """From a certificate, or alone; the public half follows from it."""
    keys = load_secret(private(tmp_path / "broker.key_secret", text))
    assert (z85_encode(keys.public), z85_encode(keys.secret)) == (PUBLIC, SECRET)


def test_a_certificate_of_pyzmq_is_read(tmp_path: Path) -> None:
    """With metadata, and the public half beside it."""
    public_path, secret_path = zmq.auth.create_certificates(tmp_path, "broker", metadata={"note": "a b = c"})
    os.chmod(secret_path, 0o600)  # which zmq.auth leaves to the umask
    public, secret = zmq.auth.load_certificate(secret_path)
    keys = load_secret(secret_path)
    assert (z85_encode(keys.public).encode(), z85_encode(keys.secret).encode()) == (public, secret)
    os.chmod(public_path, 0o644)
    assert load_authorized(str(tmp_path)).admit(keys.public) == "broker"


def test_a_credential_is_read_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its mode: systemd's directory keeps others out, and an access control list shows as a group's."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    private(tmp_path / "broker", SECRET)
    (tmp_path / "broker").chmod(0o440)
    assert z85_encode(load_secret("broker").public) == PUBLIC


def test_a_credentials_name_without_credentials_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what a path would look like."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert problem(load_secret, "broker.key_secret") == (
        'broker.key_secret: there are no credentials; expected a path, such as "/etc/zqd/broker.key_secret"'
    )
    with pytest.raises(ConfigError):
        locate("broker.key_secret")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620, 0o602, 0o610])
def test_a_secret_that_others_can_get_at_is_refused(tmp_path: Path, mode: int) -> None:
    """The line says what to do."""
    path = private(tmp_path / "broker.key_secret", SECRET_CERTIFICATE)
    os.chmod(path, mode)
    assert problem(load_secret, path) == (
        f"{path}: can be read by others (mode {mode:04o}); expected `chmod 600 {path}`"
    )


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_of_the_owner_alone_is_taken(tmp_path: Path, mode: int) -> None:
    """Writable or not."""
    path = private(tmp_path / "broker.key_secret", SECRET_CERTIFICATE)
    os.chmod(path, mode)
    assert z85_encode(load_secret(path).secret) == SECRET


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CERTIFICATE, "has no secret-key; expected the .key_secret half of a certificate"),
        ("", "has no secret-key; expected the .key_secret half of a certificate"),
        ("one two three", "has no secret-key; expected the .key_secret half of a certificate"),
        (
            SECRET[:-1],
            "the secret key is 39 characters long, where a key has 40; expected a file of `zqctl keygen`",
        ),
        (SECRET[:-1] + "~", "the secret key is not Z85 (RFC 32); expected a file of `zqctl keygen`"),
        (
            SECRET_CERTIFICATE.replace(SECRET, SECRET[1:]),
            "the secret key is 39 characters long, where a key has 40; expected a file of `zqctl keygen`",
        ),
        (
            SECRET_CERTIFICATE.replace(PUBLIC, OTHER),
            "public-key does not belong to secret-key; expected both of one pair",
        ),
        (
            "\udcff" + SECRET,
            "the secret key is 41 characters long, where a key has 40; expected a file of `zqctl keygen`",
        ),
    ],
)
def test_a_bad_secret_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """With what is wrong, and without what stands there."""
    path = tmp_path / "broker.key_secret"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    assert problem(load_secret, str(path)) == f"{path}: {reason}"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Missing, a directory, a pipe without a writer, a device without an end."""
    path = tmp_path / "x"
    assert problem(load_secret, str(path)) == (
        f"{path}: cannot be read (No such file or directory); expected a readable file"
    )
    path.mkdir(mode=0o700)
    assert problem(load_secret, str(path)).startswith(f"{path}: is not a regular file;")
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert problem(load_secret, f"{tmp_path}/pipe").endswith("is not a regular file; expected a file of keys")
    assert problem(load_secret, "/dev/zero").endswith("is not a regular file; expected a file of keys")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """It is not read to its end."""
    path = Path(private(tmp_path / "x", ""))
    with path.open("w") as file:
        file.truncate(1 << 40)
    assert problem(load_secret, str(path)) == f"{path}: larger than 4 MiB; expected a file of keys"


def test_a_pair_does_not_show_its_secret() -> None:
    """Its repr has the public half alone."""
    assert repr(KeyPair(z85_decode(PUBLIC), z85_decode(SECRET))) == f"<KeyPair {PUBLIC}>"


# Who may enter


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


# New pairs


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_pair_can_be_read_by_pyzmq(tmp_path: Path, umask: int) -> None:
    """Its secret is its owner's alone, whatever the umask."""
    before = os.umask(umask)
    try:
        public_path, secret_path, public = write_pair(tmp_path, "broker")
    finally:
        os.umask(before)
    assert (public_path, secret_path) == (tmp_path / "broker.key", tmp_path / "broker.key_secret")
    assert stat.S_IMODE(secret_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(public_path.stat().st_mode) == 0o644 & ~umask
    assert zmq.auth.load_certificate(public_path) == (public.encode(), None)
    both, secret = zmq.auth.load_certificate(secret_path)
    assert secret is not None
    assert (both, zmq.curve_public(secret)) == (public.encode(), public.encode())
    assert secret.decode() not in public_path.read_text()


def test_a_new_pair_can_be_read_by_us(tmp_path: Path) -> None:
    """Both halves; and no two pairs are the same."""
    tmp_path.chmod(0o755)
    public_path, secret_path, public = write_pair(tmp_path, "broker")
    assert z85_encode(load_secret(str(secret_path)).public) == public
    assert names(load_authorized(str(tmp_path))) == {public: "broker"}
    assert write_pair(tmp_path, "other")[2] != public
    public_path.unlink()


@pytest.mark.parametrize("half", ["broker.key", "broker.key_secret"])
def test_nothing_is_written_over(tmp_path: Path, half: str) -> None:
    """Of two halves none is changed, and none is added."""
    (tmp_path / half).write_text("precious")
    with pytest.raises(UnavailableError) as raised:
        write_pair(tmp_path, "broker")
    assert str(raised.value) == f"{tmp_path / half} exists, and is not written over"
    assert [path.name for path in tmp_path.iterdir()] == [half]
    assert (tmp_path / half).read_text() == "precious"


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """Not even through one that leads nowhere."""
    (tmp_path / "broker.key_secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError, match="exists"):
        write_pair(tmp_path, "broker")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 65, "\n"])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    """It would be no name in a list of keys either."""
    with pytest.raises(UsageError, match="is not a name for a key"):
        write_pair(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    """With what the system says."""
    with pytest.raises(UnavailableError) as raised:
        write_pair(tmp_path / "x", "broker")
    assert str(raised.value) == f"cannot write {tmp_path}/x/broker.key_secret: No such file or directory"
