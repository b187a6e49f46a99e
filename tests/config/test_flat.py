from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqd.config.flat import load_flat
from zqd.config.kinds import BOOL, INT, TEXT, WORDS
from zqd.config.settings import Setting
from zqd.config.values import toml_string
from zqd.errors import ConfigError, ExitStatus

ROWS = (
    Setting(key="handler", kind=TEXT, default="", help="H.", scope="worker"),
    Setting(key="command", kind=WORDS, default=(), help="C.", scope="worker"),
    Setting(key="capacity", kind=INT, default=1, minimum=1, maximum=64, help="C.", scope="worker"),
    Setting(key="quiet", kind=BOOL, default=False, help="Q.", scope="worker"),
)

Write = Callable[..., list[Path]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes texts as 0.toml, 1.toml and so on."""

    def write_them(*texts: str) -> list[Path]:
        paths = [tmp_path / f"{number}.toml" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return paths

    return write_them


def problems_of(files: list[Path], *sets: str, **flags: object) -> list[str]:
    """All problems of loading, each without the directory of its file."""
    with pytest.raises(ConfigError) as caught:
        load_flat(ROWS, files, sets, flags)
    assert caught.value.status == ExitStatus.CONFIG
    return [
        problem.removeprefix(f"{files[0].parent}/") if files else problem for problem in caught.value.problems
    ]


def test_nothing_configured() -> None:
    """Without any source every key has its default, and says so."""
    values, sources = load_flat(ROWS, [])
    assert values == {"handler": "", "command": (), "capacity": 1, "quiet": False}
    assert sources == dict.fromkeys(values, "default")


def test_precedence(write: Write) -> None:
    """A flag beats --set, which beats the later file, which beats the earlier one, which beats the default."""
    first, second = write('handler = "a:b"\ncommand = ["x"]\ncapacity = 2\n', "capacity = 3\nquiet = true\n")
    values, sources = load_flat(
        ROWS, [first, second], ["quiet=false", "command=grep -c 'a b'"], {"quiet": True, "capacity": None}
    )
    assert values == {"handler": "a:b", "command": ("grep", "-c", "a b"), "capacity": 3, "quiet": True}
    assert sources == {"handler": str(first), "command": "--set", "capacity": str(second), "quiet": "--quiet"}


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [
        ("capacity", "4", 4),
        ("capacity", 4, 4),
        ("command", ["a b"], ("a b",)),
        ("command", "a b", ("a", "b")),
        ("handler", "m:f", "m:f"),
    ],
)
def test_flags(key: str, given: object, value: object) -> None:
    """A flag may have the text of a command line or what TOML would have."""
    assert load_flat(ROWS, [], (), {key: given})[0][key] == value


@pytest.mark.parametrize("absent", [None, False, [], ()])
def test_flags_that_were_not_given(absent: object) -> None:
    """A flag that was not given overrides nothing."""
    values, _ = load_flat(ROWS, [], ["quiet=true", "command=a"], {"quiet": absent, "command": absent})
    assert (values["quiet"], values["command"]) == (True, ("a",))


def test_unknown_flag() -> None:
    """A flag that is none is the program's own fault."""
    with pytest.raises(ValueError, match="not a flag of the configuration: speed"):
        load_flat(ROWS, [], (), {"speed": None})


def test_missing_file(tmp_path: Path) -> None:
    """A file that must be there and is not is a problem."""
    (problem,) = problems_of([tmp_path / "none.toml"])
    assert problem == "none.toml: cannot be read (No such file or directory); expected a readable file"


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """What is there must be readable."""
    (problem,) = problems_of([tmp_path])
    assert "cannot be read (Is a directory)" in problem


def test_all_problems_at_once(write: Write) -> None:
    """The problems of every source are told together, each with its place and what is expected."""
    files = write(
        'handlre = "a"\ncapacity = 0\n[capacty]\n[environment]\nA = "b"\n', "command = 'ls'\n", "= 5\n"
    )
    keys = "handler, command, capacity, quiet"
    no_table = "is a table, and this file has none"
    words = 'a list of strings such as ["grep", "-c", "a"]'
    told = problems_of(files, "x", "nope=1", "capacity=many", capacity=65)
    assert told[5].startswith("2.toml: line 1, column 1: not valid TOML: ")
    del told[5]
    assert told == [
        f"0.toml: handlre: unknown key (did you mean handler?); expected one of {keys}",
        "0.toml: capacity: 0 is too small; expected a whole number, from 1 to 64",
        f"0.toml: capacty: {no_table} (did you mean capacity?); expected KEY = VALUE with one of {keys}",
        f"0.toml: environment: {no_table}; expected KEY = VALUE with one of {keys}",
        f'1.toml: command: "ls" is not a list of strings; expected {words}',
        "--set x: no value; expected KEY=VALUE, such as handler=VALUE",
        f"--set nope: unknown key; expected one of {keys}",
        '--set capacity: "many" is not a whole number; expected a whole number, from 1 to 64',
        "--capacity: 65 is too large; expected a whole number, from 1 to 64",
    ]


def test_table_of_a_known_key(write: Write) -> None:
    """A table in place of a value is told as such."""
    (problem,) = problems_of(write("[capacity]\n"))
    assert problem == "0.toml: capacity: a table is not a whole number; expected a whole number, from 1 to 64"


@given(st.binary() | st.text().map(str.encode))
def test_any_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever bytes a file holds, loading it gives values or a ConfigError."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        load_flat(ROWS, [path])


def problems_if_any(files: list[Path], *sets: str) -> list[str]:
    """All problems of loading, none if it loads."""
    try:
        load_flat(ROWS, files, sets)
    except ConfigError as error:
        return error.problems
    return []


keys = st.sampled_from([row.key for row in ROWS]) | st.text()
texts = st.sampled_from(["0", "5", "true", "'a'", '["a"]', "{}", "[[]]", "1.5", "2024-01-01"])


@given(st.dictionaries(keys, texts))
def test_any_line(tmp_path_factory: pytest.TempPathFactory, content: dict[str, str]) -> None:
    """A file of good and bad lines gives values, or problems of one printable line."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("".join(f"{toml_string(key)} = {value}\n" for key, value in content.items()))
    assert all(problem.isprintable() for problem in problems_if_any([path]))


@given(st.text() | st.builds("{}={}".format, keys, st.text()))
def test_any_set(argument: str) -> None:
    """Whatever --set says gives values or one problem of one printable line."""
    problems = problems_if_any([], argument)
    assert len(problems) <= 1
    assert all(problem.isprintable() for problem in problems)
