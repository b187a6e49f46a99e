import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqd.config import QUEUE_SETTINGS, SETTINGS, Config, files, load
from zqd.config.draft import Draft
from zqd.core.settings import QueueSettings
from zqd.errors import ConfigError

Load = Callable[..., Config]

JOBS = '[queues.jobs]\nfrontend = ["tcp://127.0.0.1:1"]\nbackend = ["tcp://127.0.0.1:2"]\n'


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Loads a text as zqd.toml, and others as its drop-ins."""

    def load_it(text: str, *sets: str, drop_ins: Sequence[str] = (), **flags: object) -> Config:
        path = tmp_path / "zqd.toml"
        path.write_text(text)
        (tmp_path / "zqd.toml.d").mkdir()
        for number, drop_in in enumerate(drop_ins):
            (tmp_path / "zqd.toml.d" / f"{number}.toml").write_text(drop_in)
        return load(path, sets, flags)

    return load_it


@pytest.fixture
def no_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a configuration."""
    monkeypatch.setattr(files, "DEFAULT_PATH", tmp_path / "none.toml")


def problems_of(load_it: Load, *args: Any, **kwargs: Any) -> list[str]:
    """All problems of loading."""
    with pytest.raises(ConfigError) as caught:
        load_it(*args, **kwargs)
    return caught.value.problems


def problem_of(load_it: Load, *args: Any, **kwargs: Any) -> str:
    """The one problem of loading."""
    (problem,) = problems_of(load_it, *args, **kwargs)
    return problem


def test_nothing_configured(no_default_file: None) -> None:
    """Without any configuration there is one queue with the seed's ports."""
    config = load()
    (queue,) = config.queues
    assert queue.name == "default"
    assert queue.frontend == ("tcp://127.0.0.1:5559",)
    assert queue.backend == ("tcp://127.0.0.1:5560",)
    assert queue.settings == QueueSettings()
    assert (config.control, config.log_level, config.log_format) == (None, "info", "auto")
    assert config.allow_unauthenticated is False


def test_every_value_has_a_source(no_default_file: None) -> None:
    """The sources tell of every key of the daemon and of every queue."""
    assert load().sources == {row.path("default"): "default" for row in SETTINGS}


def test_empty_queues_table(load_text: Load) -> None:
    """A [queues] table without queues is as good as none."""
    assert [queue.name for queue in load_text("[queues]").queues] == ["default"]


def test_precedence(load_text: Load, tmp_path: Path) -> None:
    """A flag beats --set, which beats a drop-in, which beats the file, which beats the default."""
    config = load_text(
        'control = "ipc:///1"\nlog_level = "debug"\nlog_format = "json"\n[queues.default]\nprefetch = 2\n',
        "log_level=error",
        "log_format=auto",
        drop_ins=['log_format = "console"\n[queues.default]\nmax_attempts = 7\n'],
        log_level="warning",
    )
    assert (config.control, config.log_level, config.log_format) == ("ipc:///1", "warning", "auto")
    assert (config.queues[0].settings.prefetch, config.queues[0].settings.max_attempts) == (2, 7)
    assert config.sources["control"] == str(tmp_path / "zqd.toml")
    assert config.sources["log_level"] == "--log-level"
    assert config.sources["log_format"] == "--set"
    assert config.sources["queues.default.prefetch"] == str(tmp_path / "zqd.toml")
    assert config.sources["queues.default.max_attempts"] == str(tmp_path / "zqd.toml.d" / "0.toml")
    assert config.sources["queues.default.max_queued"] == "default"


def test_lists_replace(load_text: Load) -> None:
    """A list in a drop-in takes the place of the file's."""
    config = load_text(JOBS, drop_ins=['[queues.jobs]\nfrontend = ["tcp://127.0.0.1:3"]\n'])
    assert config.queues[0].frontend == ("tcp://127.0.0.1:3",)
    assert config.queues[0].backend == ("tcp://127.0.0.1:2",)


def test_later_set_wins(no_default_file: None) -> None:
    """Of two --set of one key the later one counts."""
    assert load(None, ["log_level=debug", "log_level=error"]).log_level == "error"


def test_named_queue_alone(load_text: Load) -> None:
    """A configuration that names a queue has no other."""
    assert [queue.name for queue in load_text(JOBS).queues] == ["jobs"]


def test_default_queue_falls_back_to_its_endpoints(load_text: Load) -> None:
    """The queue default need not say where it listens, even beside others."""
    config = load_text(JOBS + "[queues.default]\n")
    assert config.queues[1].frontend == ("tcp://127.0.0.1:5559",)


def test_named_queue_needs_endpoints(load_text: Load) -> None:
    """Another queue must say where it listens, on both sides."""
    frontend, backend = problems_of(load_text, "[queues.jobs]\nprefetch = 2")
    assert "zqd.toml: queues.jobs.frontend: missing; expected a list of endpoints such as" in frontend
    assert "zqd.toml: queues.jobs.backend: missing; expected a list of endpoints such as" in backend


def test_mistyped_queue_name(no_default_file: None) -> None:
    """A queue without endpoints is probably another one's name mistyped."""
    problems = problems_of(load, None, ["queues.defualt.prefetch=2"])
    assert problems[0].startswith("--set: queues.defualt.frontend: missing (did you mean default?)")


def test_queue_from_sets_alone(no_default_file: None) -> None:
    """--set can make a whole queue."""
    config = load(None, ["queues.a.frontend=tcp://127.0.0.1:1", "queues.a.backend=tcp://127.0.0.1:2"])
    assert [queue.name for queue in config.queues] == ["a"]


def test_endpoint_flags(no_default_file: None) -> None:
    """--frontend and --backend are those of the queue default."""
    config = load(None, [], {"frontend": ["tcp://127.0.0.1:1", "ipc:///f"], "backend": ["tcp://127.0.0.1:2"]})
    assert config.queues[0].frontend == ("tcp://127.0.0.1:1", "ipc:///f")
    assert config.queues[0].backend == ("tcp://127.0.0.1:2",)
    assert config.sources["queues.default.frontend"] == "--frontend"


def test_endpoint_flags_without_default_queue(load_text: Load) -> None:
    """--frontend with queues of which none is default is refused, with what to write instead."""
    problem = problem_of(load_text, JOBS, frontend=["tcp://127.0.0.1:9"])
    assert problem.startswith("--frontend: sets the frontend of the queue default")
    assert "expected --set queues.jobs.frontend=ENDPOINT" in problem


def test_both_endpoint_flags_without_default_queue(load_text: Load) -> None:
    """The one flag does not make the queue that the other misses."""
    assert (
        len(problems_of(load_text, JOBS, frontend=["tcp://127.0.0.1:9"], backend=["tcp://127.0.0.1:8"])) == 2
    )


@pytest.mark.parametrize("absent", [None, False, [], ()])
def test_flags_that_were_not_given(load_text: Load, absent: object) -> None:
    """A flag that was not given overrides nothing."""
    flags = dict.fromkeys(
        ("frontend", "backend", "control", "log_level", "log_format", "allow_unauthenticated"), absent
    )
    assert load_text(f"allow_unauthenticated = true\n{JOBS}", **flags).allow_unauthenticated is True


def test_unknown_flag(no_default_file: None) -> None:
    """A flag that is none is the program's own fault."""
    with pytest.raises(ValueError, match="log-level"):
        load(None, [], {"log-level": "debug"})


@pytest.mark.parametrize(
    "endpoint", ["tcp://*:5559", "tcp://0.0.0.0:5559", "tcp://192.0.2.1:5559", "tcp://*:0"]
)
def test_endpoint_for_strangers(no_default_file: None, endpoint: str) -> None:
    """An endpoint that other machines reach is refused, with both ways to allow it."""
    problem = problem_of(load, None, [], {"frontend": [endpoint]})
    shown = endpoint.replace("*", "0.0.0.0")  # noqa: S104
    assert problem.startswith(f"--frontend (queues.default.frontend): {shown} can be reached")
    assert "allow_unauthenticated = true" in problem
    assert "--allow-unauthenticated" in problem


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:1", "tcp://127.8.9.1:1", "tcp://[::1]:1", "ipc:///x"])
def test_endpoint_of_this_machine(no_default_file: None, endpoint: str) -> None:
    """An endpoint that only this machine reaches needs no leave."""
    assert load(None, [], {"frontend": [endpoint]}).queues[0].frontend == (endpoint,)


def test_control_for_strangers(no_default_file: None) -> None:
    """Orders come by a path, whose mode says from whom; by nothing else."""
    assert "expected ipc:///PATH" in problem_of(load, None, ["control=tcp://127.0.0.1:1"])


@pytest.mark.parametrize("key", ["status", "events"])
def test_own_endpoints_are_paths(no_default_file: None, key: str) -> None:
    """Who may ask and listen is said by a file's mode, too."""
    assert "expected ipc:///PATH" in problem_of(load, None, [f"{key}=tcp://127.0.0.1:1"])


def test_own_endpoints_differ(no_default_file: None) -> None:
    """The daemon's own three sockets are three."""
    status, events = problems_of(load, None, ["control=ipc:///x", "status=ipc:///x", "events=ipc:///x"])
    assert status == "--set status: ipc:///x is already taken by --set control; expected every endpoint once"
    assert events == "--set events: ipc:///x is already taken by --set control; expected every endpoint once"


@pytest.mark.parametrize(
    ("control", "taken", "by"),
    [
        ("ipc:///a/control.sock", "ipc:///a/status.sock", "status (default)"),
        ("ipc:///a/x", "ipc:///a/x.events", "events (default)"),
    ],
)
def test_own_endpoints_by_default(no_default_file: None, control: str, taken: str, by: str) -> None:
    """What lies beside the control socket unless it is said to lie elsewhere is taken as well."""
    problem = problem_of(load, None, [f"control={control}", f"queues.default.frontend={taken}"])
    assert f"{taken} is already taken by {by}" in problem


def test_control_too_long_for_what_lies_beside_it(no_default_file: None) -> None:
    """A path that a unix socket can just have leaves no room for the endings of the other two."""
    control = "control=ipc:///" + "x" * 104
    status, events = problems_of(load, None, [control])
    assert status.startswith("--set control: the socket status lies beside it, and ")
    assert status.endswith("expected a shorter path, or status = ENDPOINT")
    assert events.startswith("--set control: the socket events lies beside it, and ")
    assert load(None, [control, "status=ipc:///s", "events=ipc:///e"]).status == "ipc:///s"


def test_files_that_were_read(load_text: Load, tmp_path: Path) -> None:
    """The configuration tells the files that it is made of, in their order, an empty one too."""
    files = load_text("", drop_ins=[JOBS]).files
    assert files == (str(tmp_path / "zqd.toml"), str(tmp_path / "zqd.toml.d" / "0.toml"))


def test_no_file_was_read(no_default_file: None) -> None:
    """Without files there is none to tell."""
    assert load().files == ()


def test_sockets_of_a_queue(load_text: Load) -> None:
    """Mode, owner and group of a queue's sockets are its own."""
    first, second = load_text(
        JOBS + 'socket_mode = "0660"\nsocket_group = "www-data"\n[queues.default]\nsocket_mode = "600"\n',
        "queues.default.socket_user=1000",
    ).queues
    assert (first.socket_mode, first.socket_user, first.socket_group) == (0o660, "", "www-data")
    assert (second.socket_mode, second.socket_user, second.socket_group) == (0o600, "1000", "")


@pytest.mark.parametrize(
    ("sets", "flags"), [(["allow_unauthenticated=true"], {}), ([], {"allow_unauthenticated": True})]
)
def test_strangers_allowed(no_default_file: None, sets: list[str], flags: Mapping[str, object]) -> None:
    """Both ways to allow an endpoint for strangers work."""
    assert load(None, sets, {"frontend": ["tcp://*:5559"], **flags}).allow_unauthenticated


def test_one_endpoint_for_two_queues(load_text: Load) -> None:
    """Two queues on one endpoint are told, each with its place."""
    problem = problem_of(load_text, JOBS + JOBS.replace("jobs", "more").replace(":2", ":3"))
    assert "zqd.toml: queues.more.frontend: tcp://127.0.0.1:1 is already taken by" in problem
    assert "zqd.toml: queues.jobs.frontend;" in problem


def test_one_endpoint_for_two_sides(no_default_file: None) -> None:
    """A frontend on the default backend's port is told."""
    problem = problem_of(load, None, [], {"frontend": ["tcp://127.0.0.1:5560"]})
    assert "--frontend (queues.default.frontend)" in problem
    assert problem.startswith("queues.default.backend (default): tcp://127.0.0.1:5560 is already taken by")


def test_one_endpoint_for_control_and_clients(no_default_file: None) -> None:
    """The control endpoint may not be a queue's."""
    problem = problem_of(load, None, ["control=ipc:///x", "queues.default.frontend=ipc:///x"])
    assert "ipc:///x is already taken by --set control" in problem


def test_one_endpoint_twice_in_a_list(no_default_file: None) -> None:
    """An endpoint may not stand twice in one list."""
    assert "ipc:///x stands twice" in problem_of(load, None, ["queues.default.frontend=ipc:///x,ipc:///x"])


def test_any_port_is_never_the_same(no_default_file: None) -> None:
    """Port 0 is another port each time."""
    flags = {"frontend": ["tcp://127.0.0.1:0"] * 2, "backend": ["tcp://127.0.0.1:0"]}
    assert len(load(None, [], flags).queues[0].frontend) == 2


def test_all_problems_at_once(load_text: Load, tmp_path: Path) -> None:
    """The problems of every source, and those of the whole, are told together."""
    problems = problems_of(
        load_text,
        "log_levle = 1\n[queues.default]\nprefetch = 0\n[queues.jobs]\n",
        "x=1",
        "queues.default.frontend=tcp://*:1",
        drop_ins=["y = 1"],
        log_format="xml",
    )
    starts = [
        "zqd.toml: log_levle: unknown key",
        "zqd.toml: queues.default.prefetch: 0 is too small",
        "zqd.toml.d/0.toml: y: unknown key",
        "--set x: unknown key",
        '--log-format: "xml" is not a choice',
        "zqd.toml: queues.jobs.frontend: missing",
        "zqd.toml: queues.jobs.backend: missing",
        "--set queues.default.frontend: tcp://0.0.0.0:1 can be reached",
    ]
    found = [problem.removeprefix(f"{tmp_path}/") for problem in problems]
    assert [problem[: len(start)] for problem, start in zip(found, starts, strict=True)] == starts


def test_all_broken_files_at_once(load_text: Load) -> None:
    """A file that cannot be parsed does not hide what is wrong in the others."""
    assert len(problems_of(load_text, "x = 1", drop_ins=["= 5", "y = 1", "= 6"])) == 4


def test_a_broken_file_hides_what_is_missing(load_text: Load) -> None:
    """What may stand in a file that cannot be read is not told as missing."""
    problem = problem_of(load_text, JOBS + "=", "queues.jobs.prefetch=2", frontend=["tcp://*:1"])
    assert "not valid TOML" in problem


def test_a_bad_endpoint_is_not_missing(load_text: Load) -> None:
    """An endpoint that is wrong is told once."""
    assert "frontend" in problem_of(load_text, JOBS.replace("tcp://127.0.0.1:1", "tcp:1"))


def test_a_bad_permission_is_told_once(load_text: Load) -> None:
    """A permission that is badly written is told, not also what it would have allowed."""
    text = 'allow_unauthenticated = "yes"\n[queues.default]\nfrontend = ["tcp://*:1"]'
    assert "allow_unauthenticated" in problem_of(load_text, text)


def test_missing_file(tmp_path: Path) -> None:
    """A file that was asked for must exist."""
    assert "none.toml: cannot be read" in problem_of(load, tmp_path / "none.toml")


scalars = st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
keys = st.sampled_from(["queues", "default", *(row.key for row in SETTINGS)]) | st.text()
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(keys, trees, max_size=5) | st.fixed_dictionaries({"queues": st.dictionaries(keys, trees)})
)
def test_any_tree(tree: dict[str, object]) -> None:
    """Whatever a TOML file holds gives values or problems of one printable line, never an exception."""
    draft = Draft()
    draft.add_tree("f.toml", tree)
    assert all(problem.isprintable() for problem in draft.problems)


@given(st.text() | st.builds("queues.{}.{}={}".format, st.text(), keys, st.text()))
def test_any_set(argument: str) -> None:
    """Whatever --set says gives a value or one problem of one printable line, never an exception."""
    draft = Draft()
    draft.add_set(argument)
    assert len(draft.values) + len(draft.problems) == 1
    assert all(problem.isprintable() for problem in draft.problems)


@given(st.binary() | st.text().map(str.encode))
def test_any_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever bytes a file holds, loading it gives a Config or a ConfigError."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        load(path)


lines = st.builds(
    "{} = {}".format,
    st.sampled_from([*QUEUE_SETTINGS, "x"]),
    st.sampled_from(["0", "5", "'5s'", "'1MiB'", "'drop'", "'run'", "[]", "['ipc:///x']", "{}", "-1", "x"]),
)


@given(st.lists(lines))
def test_any_queue(tmp_path_factory: pytest.TempPathFactory, content: list[str]) -> None:
    """A queue's table of good and bad lines gives a Config or a ConfigError."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("\n".join(["[queues.default]", *content]))
    with contextlib.suppress(ConfigError):
        load(path)
