from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
import zmq.auth

from zqd.errors import ConfigError, UnavailableError, UsageError
from zqd.keys.authorized import load_authorized
from zqd.keys.files import locate
from zqd.keys.pair import KeyPair, load_public, load_secret, new_pair, write_pair
from zqd.keys.z85 import z85_decode, z85_encode

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


# Our own


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
    """It says what a path would look like, and how to have the credentials of the service."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert problem(load_secret, "broker.key_secret") == (
        'broker.key_secret: there are no credentials; expected a path, such as "/etc/zqd/broker.key_secret"; to check '
        "by hand what a service is given: CREDENTIALS_DIRECTORY=/run/credentials/zqd.service zqd --check-config"
    )
    with pytest.raises(ConfigError):
        locate("broker.key_secret")


def test_a_credential_is_read_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same file; what only lies below the directory is none."""
    path = private(tmp_path / "broker", SECRET)
    os.chmod(path, 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", f"{tmp_path}/")
    assert z85_encode(load_secret(path).public) == PUBLIC
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path.parent))
    assert "can be read by others" in problem(load_secret, path)


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


# Others'


def test_a_public_key_that_is_cut_short() -> None:
    """Is not taken for the name of a file, nor repeated: it may be a secret one."""
    assert problem(load_public, SECRET[1:]) == (
        "the key is 39 characters long, where a key has 40; expected one, or the path of a certificate"
    )


# New pairs


def test_a_new_pair_belongs_together() -> None:
    """Its halves are of one pair to libzmq too, and no two pairs are the same."""
    pair = new_pair()
    assert zmq.curve_public(z85_encode(pair.secret).encode()) == z85_encode(pair.public).encode()
    assert new_pair().secret != pair.secret


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
    assert load_authorized(str(tmp_path)).admit(z85_decode(public)) == "broker"
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
