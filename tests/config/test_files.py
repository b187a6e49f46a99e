from pathlib import Path

import pytest

from zqd.config import files
from zqd.config.files import read_files

SECRET = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"  # noqa: S105 - of zmq_curve(7)


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """The path of a configuration file with one key."""
    path = tmp_path / "zqd.toml"
    path.write_text('log_level = "info"\n')
    return path


def problem_of(path: Path | None) -> str:
    """The one problem of reading `path`."""
    problems: list[str] = []
    read_files(path, problems)
    (problem,) = problems
    return problem


def test_file(main: Path) -> None:
    """A file is given with its name."""
    assert read_files(main, []) == [(str(main), {"log_level": "info"})]


def test_missing_file(tmp_path: Path) -> None:
    """A file that was asked for must exist."""
    assert "none.toml: cannot be read (No such file or directory)" in problem_of(tmp_path / "none.toml")


def test_missing_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a default file there is nothing to read, and nothing wrong."""
    monkeypatch.setattr(files, "DEFAULT_PATH", tmp_path / "none" / "zqd.toml")
    problems: list[str] = []
    assert read_files(None, problems) == []
    assert problems == []


def test_default_file(main: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file that was asked for the default one is read."""
    monkeypatch.setattr(files, "DEFAULT_PATH", main)
    assert read_files(None, []) == [(str(main), {"log_level": "info"})]


def test_drop_ins_in_name_order(main: Path) -> None:
    """The drop-ins come after the file, in the order of their names."""
    directory = main.with_name("zqd.toml.d")
    directory.mkdir()
    for name in ("20-b.toml", "10-a.toml"):
        (directory / name).write_text("")
    assert [Path(name).name for name, _ in read_files(main, [])] == ["zqd.toml", "10-a.toml", "20-b.toml"]


def test_drop_ins_without_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop-ins need no default file beside them."""
    monkeypatch.setattr(files, "DEFAULT_PATH", tmp_path / "zqd.toml")
    (tmp_path / "zqd.toml.d").mkdir()
    (tmp_path / "zqd.toml.d" / "a.toml").write_text("")
    assert [Path(name).name for name, _ in read_files(None, [])] == ["a.toml"]


@pytest.mark.parametrize("name", [".a.toml", "a.toml~", "a.toml.dpkg-old", "README"])
def test_what_is_no_drop_in(main: Path, name: str) -> None:
    """What editors and packages leave behind is not read."""
    directory = main.with_name("zqd.toml.d")
    directory.mkdir()
    (directory / name).write_text("no TOML")
    problems: list[str] = []
    assert len(read_files(main, problems)) == 1
    assert problems == []


def test_drop_ins_that_are_no_directory(main: Path) -> None:
    """A file in place of the drop-ins' directory is a problem."""
    main.with_name("zqd.toml.d").write_text("")
    assert "expected a readable directory" in problem_of(main)


def test_unreadable_drop_in(main: Path) -> None:
    """A drop-in that leads nowhere is a problem."""
    directory = main.with_name("zqd.toml.d")
    directory.mkdir()
    (directory / "a.toml").symlink_to("nowhere")
    assert "a.toml: cannot be read" in problem_of(main)


@pytest.mark.parametrize("path", [Path("/"), Path("/dev"), Path("a\0b"), Path("/dev/null/zqd.toml")])
def test_unreadable_file(path: Path) -> None:
    """What cannot be opened as a file is one problem."""
    assert "cannot be read" in problem_of(path)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("\n\nprefetch 5\n", "line 3, column 10"),
        ("a = 1\na = 2\n", "line 2"),
        ("drain_timeout = 30s\n", 'in "drain_timeout = 30s"; expected KEY = VALUE, strings in double quotes'),
        ("a = [1,\n\n", "line 3 (end of file)"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("a = " + "[" * 50_000, "nested too deeply"),
    ],
)
def test_syntax_error(main: Path, text: str, place: str) -> None:
    """A syntax error is told with file, line and the line itself."""
    main.write_text(text)
    problem = problem_of(main)
    assert problem.startswith(f"{main}: ")
    assert place in problem


@pytest.mark.parametrize(
    "line",
    [
        f"curve_secret = {SECRET}",
        f"frontend_curve_secret={SECRET[:20]}",
        f"SECRET = {SECRET}",
        f"key = {SECRET[1:]} # mine",
    ],
)
def test_a_secret_without_quotes(main: Path, line: str) -> None:
    """Is not repeated: everybody can read the events in which the problem is told."""
    main.write_text(f"[queues.default]\n{line}\n")
    problem = problem_of(main)
    assert problem.startswith(f"{main}: line 2, column ")
    assert problem.endswith(": not valid TOML: Invalid value; expected KEY = VALUE, strings in double quotes")


def test_not_utf8(main: Path) -> None:
    """A byte that is not UTF-8 is told with its line."""
    main.write_bytes(b"a = 1\nb = '\xff'\n")
    assert problem_of(main) == (f"{main}: line 2: the byte 0xff is not UTF-8; expected a TOML file in UTF-8")


def test_byte_order_mark(main: Path) -> None:
    """The mark that some editors put before UTF-8 is overlooked."""
    main.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_files(main, []) == [(str(main), {"a": 1})]


def test_endless_file() -> None:
    """A file without end is not read to it."""
    assert problem_of(Path("/dev/zero")) == "/dev/zero: larger than 4 MiB; expected a TOML file"


def test_one_bad_file_hides_no_other(main: Path) -> None:
    """The other files are read although one is bad."""
    directory = main.with_name("zqd.toml.d")
    directory.mkdir()
    (directory / "a.toml").write_text("=")
    (directory / "b.toml").write_text("=")
    problems: list[str] = []
    assert read_files(main, problems) == [(str(main), {"log_level": "info"})]
    assert len(problems) == 2
