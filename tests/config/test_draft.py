import tomllib

import pytest

from zqd.config.draft import Draft


def problem_of(toml: str = "", *sets: str) -> str:
    """The one problem of a file's text and `--set` arguments."""
    draft = Draft()
    draft.add_tree("f.toml", tomllib.loads(toml))
    for argument in sets:
        draft.add_set(argument)
    (problem,) = draft.problems
    return problem


def test_file_values_are_checked_and_kept() -> None:
    """A file's values are kept by dotted key, parsed, with the file as their source."""
    draft = Draft()
    draft.add_tree("f.toml", {"log_level": "debug", "queues": {"a": {"queue_timeout": "5m"}}})
    assert draft.values == {"log_level": "debug", "queues.a.queue_timeout": 300.0}
    assert set(draft.sources.values()) == {"f.toml"}
    assert draft.problems == []


def test_empty_table_names_a_queue() -> None:
    """A queue's table exists even if it sets nothing."""
    draft = Draft()
    draft.add_tree("f.toml", {"queues": {"default": {}}})
    assert draft.queues == {"default": "f.toml"}


@pytest.mark.parametrize(
    ("argument", "path", "value"),
    [
        ("log_level=debug", "log_level", "debug"),
        ("allow_unauthenticated=true", "allow_unauthenticated", True),
        ("queues.default.max_attempts=5", "queues.default.max_attempts", 5),
        ("queues.default.queue_timeout=500ms", "queues.default.queue_timeout", 0.5),
        ("queues.default.queue_timeout=100", "queues.default.queue_timeout", 100.0),
        ("queues.default.max_unsent=1MiB", "queues.default.max_unsent", 1 << 20),
        (" queues.a-b.on_failure = drop ", "queues.a-b.on_failure", "drop"),
        (
            "queues.a.frontend=tcp://127.0.0.1:1,ipc:///run/x=y",
            "queues.a.frontend",
            ("tcp://127.0.0.1:1", "ipc:///run/x=y"),
        ),
    ],
)
def test_set(argument: str, path: str, value: object) -> None:
    """`--set` takes a dotted path and an unquoted value, parsed as the setting's kind asks."""
    draft = Draft()
    draft.add_set(argument)
    assert draft.problems == []
    assert draft.values == {path: value}
    assert draft.sources == {path: "--set"}


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("queues.default.max_attempts", "--set queues.default.max_attempts: no value; expected KEY=VALUE"),
        ("=5", "--set =5: no key; expected KEY=VALUE"),
        ("queues.default.frontend_curve_secret:abc", "--set: no value; expected KEY=VALUE"),
        ("queues.default.frontend_curve_secret ab=c", "--set: no key; expected KEY=VALUE"),
        ("D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs", "--set: no value; expected KEY=VALUE"),
        ("", '--set "": no value; expected KEY=VALUE'),
        ("queues=5", "--set queues: is a table"),
        ("queues.default=5", "--set queues.default: is a table"),
        (
            "queues.default.prefetch.x=5",
            "--set queues.default.prefetch.x: unknown key (did you mean prefetch?)",
        ),
        ("queues..prefetch=5", '--set queues..prefetch: "" is no queue name'),
        ("prefetch=5", "--set prefetch: is a key of a queue; expected it as queues.NAME.prefetch"),
        ("log_level.x=5", "--set log_level.x: unknown key (did you mean log_level?)"),
        ("queues.default.prefetch=many", '--set queues.default.prefetch: "many" is not a whole number'),
        ("queues.default.prefetch=", '--set queues.default.prefetch: "" is not a whole number'),
        ("queues.default.frontend=", '--set queues.default.frontend: "": '),
        ("control=\udc80", "--set control: '\\udc80' has characters that cannot be printed"),
        ("\udc80\n=5", "--set '\\udc80'"),
    ],
)
def test_bad_set(argument: str, problem: str) -> None:
    """A `--set` that makes no sense is one problem that names its key."""
    found = problem_of("", argument)
    assert found.startswith(problem)
    assert found.isprintable()


def test_bad_value_that_is_overridden() -> None:
    """A bad value is told even if a later source overrides it."""
    assert problem_of('log_level = "loud"', "log_level=debug").startswith('f.toml: log_level: "loud"')


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        (
            "log_levle = 1",
            "f.toml: log_levle: unknown key (did you mean log_level?); expected one of control, ",
        ),
        ("xyz = 1", "f.toml: xyz: unknown key; expected one of control, status, events, "),
        ("[queue.default]", "f.toml: queue: unknown key (did you mean queues?)"),
        ("[jobs]\nprefetch = 1", "f.toml: jobs: has the keys of a queue; expected it as [queues.jobs]"),
        ("[jobs]\nx = 1", "f.toml: jobs: unknown key; expected one of control, "),
        ("prefetch = 1", "f.toml: prefetch: is a key of a queue; expected it as queues.NAME.prefetch"),
        ("prefetsch = 1", "f.toml: prefetsch: unknown key (did you mean queues.default.prefetch?)"),
        ("'a b\\n' = 1", "f.toml: a b\\n: unknown key"),
        ('"a\\n" = 1', "f.toml: 'a\\n': unknown key"),
        (
            "[queues.a]\nmax_atempts = 1",
            "f.toml: queues.a.max_atempts: unknown key (did you mean max_attempts?)",
        ),
        ("[queues.a]\nxyz = 1", "f.toml: queues.a.xyz: unknown key; expected a key of a queue"),
        (
            '[queues.a]\nlog_level = "info"',
            "f.toml: queues.a.log_level: is a key of the daemon, not of a queue; expected log_level at the top",
        ),
    ],
)
def test_unknown_key(toml: str, problem: str) -> None:
    """An unknown key is told with what was probably meant, or with where it belongs."""
    assert problem_of(toml).startswith(problem)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("queues = 5", "f.toml: queues: 5 where tables are expected"),
        ("[[queues]]", "f.toml: queues: a list where tables are expected"),
        ("queues.a = 5", "f.toml: queues.a: 5 where a table is expected"),
        (
            "[queues]\nprefetch = 5",
            "f.toml: queues.prefetch: 5 where a table is expected (did you mean queues.default.prefetch?)",
        ),
        ("[log_level]", "f.toml: log_level: a table is not a string"),
        ("[control]", "f.toml: control: a table is not an endpoint"),
        ("[queues.a.prefetch]", "f.toml: queues.a.prefetch: a table is not a whole number"),
        ("[queues.a.frontend]", "f.toml: queues.a.frontend: a table is not a list of endpoints"),
        ("[queues.a.queue_timeout]", "f.toml: queues.a.queue_timeout: a table is not a duration"),
        ("allow_unauthenticated = 1", "f.toml: allow_unauthenticated: 1 is not true or false"),
        ("queues.a.prefetch = 2024-01-01", "f.toml: queues.a.prefetch: 2024-01-01 is not a whole number"),
        ("queues.a.prefetch = 0x" + "f" * 9000, "f.toml: queues.a.prefetch: a number of more than 60 digits"),
        ("queues.a.prefetch = 0", "f.toml: queues.a.prefetch: 0 is too small"),
    ],
)
def test_wrong_type(toml: str, problem: str) -> None:
    """A value of another type, a table among them, is told with its place and what is expected."""
    found = problem_of(toml)
    assert found.startswith(problem)
    assert "; expected " in found


@pytest.mark.parametrize("name", ["", "-a", "_a", "a b", "a.b", "ä", "a\\n", "a" * 65])
def test_bad_queue_name(name: str) -> None:
    """A queue's name is up to 64 letters, digits, _ and -, beginning with a letter or digit."""
    assert "is no queue name; expected 1 to 64 letters" in problem_of(f'[queues."{name}"]')


@pytest.mark.parametrize("name", ["a", "0", "Jobs_2-b", "a" * 64])
def test_queue_name(name: str) -> None:
    """Letters, digits, _ and - make a queue's name."""
    draft = Draft()
    draft.add_tree("f.toml", {"queues": {name: {}}})
    assert list(draft.queues) == [name]


def test_flag() -> None:
    """A flag's value is checked, and its source is the flag."""
    draft = Draft()
    draft.add_flag("log_level", "debug")
    assert draft.values == {"log_level": "debug"}
    assert draft.sources == {"log_level": "--log-level"}


def test_bad_flag() -> None:
    """A bad flag is a problem that names the flag."""
    draft = Draft()
    draft.add_flag("log_format", "xml")
    assert draft.problems[0].startswith('--log-format: "xml" is not a choice; expected one of auto, ')


def test_every_problem_is_told() -> None:
    """One bad value does not hide the next."""
    draft = Draft()
    draft.add_tree("f.toml", tomllib.loads('x = 1\ny = 2\n[queues.a]\nprefetch = 0\nmax_attempts = "3"'))
    assert len(draft.problems) == 4
