from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from zqd.errors import ConfigError
from zqd.worker.settings import DEFAULT_HANDLER, SETTINGS, WorkerSettings, describe, load, taken_over


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an empty worker.toml."""
    (tmp_path / "worker.toml").touch()
    (tmp_path / "workers").mkdir()
    return tmp_path


def problems(folder: Path, instance: str = "1", **sources: object) -> list[str]:
    """The lines of what is wrong."""
    with pytest.raises(ConfigError) as refused:
        load(folder / "worker.toml", instance, **sources)  # type: ignore[arg-type]
    return refused.value.problems


def test_every_field_has_a_row() -> None:
    """In the same order, with the same default."""
    assert [(row.key, row.default) for row in SETTINGS] == [
        (field.name, field.default) for field in fields(WorkerSettings)
    ]
    assert {row.scope for row in SETTINGS} == {"worker"}


def test_without_a_word() -> None:
    """No source at all gives the defaults."""
    settings, sources = load(None, "no-such-instance")
    assert settings == WorkerSettings()
    assert set(sources.values()) == {"default"}


def test_precedence(folder: Path) -> None:
    """The instance's file goes over that of all, --set over both, and flags over all of them."""
    main, own = folder / "worker.toml", folder / "workers" / "7.toml"
    main.write_text("concurrency = 2\nmax_requests = 10\ndrain_timeout = '1s'\nlog_level = 'debug'\n")
    own.write_text("concurrency = 3\nmax_requests = 20\ndrain_timeout = '2s'\n")
    sets = ["concurrency=4", "max_requests=30"]
    settings, sources = load(main, "7", sets, {"concurrency": 5})
    assert (settings.concurrency, sources["concurrency"]) == (5, "--concurrency")
    assert (settings.max_requests, sources["max_requests"]) == (30, "--set")
    assert (settings.drain_timeout, sources["drain_timeout"]) == (2.0, str(own))
    assert (settings.log_level, sources["log_level"]) == ("debug", str(main))
    assert load(main, "8")[0].concurrency == 2


def test_named_file_must_exist(tmp_path: Path) -> None:
    """A file that was named has to be there; that of the instance need not."""
    (line,) = problems(tmp_path)
    assert line.startswith(f"{tmp_path}/worker.toml: cannot be read (No such file or directory)")


def test_file_of_the_instance_that_cannot_be_had(folder: Path) -> None:
    """A link that leads nowhere and a path that cannot be looked at are told; only what is not there at all is passed over."""
    (folder / "workers" / "1.toml").symlink_to("nowhere")
    (line,) = problems(folder)
    assert line.startswith(f"{folder}/workers/1.toml: cannot be read (No such file or directory)")
    (line,) = problems(folder, "x" * 300)
    assert "cannot be read (File name too long)" in line
    (folder / "workers").rename(folder / "elsewhere")
    load(folder / "worker.toml", "1")
    (folder / "workers").touch()
    (line,) = problems(folder)
    assert line.startswith(f"{folder}/workers/1.toml: cannot be read (Not a directory)")


def test_default_file_that_cannot_be_had(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That need not be there either, and is told likewise if it is."""
    monkeypatch.setattr("zqd.worker.settings.DEFAULT_PATH", folder / "default.toml")
    load(None, "1")
    (folder / "default.toml").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"default\.toml: cannot be read"):
        load(None, "1")


def test_every_problem_has_a_line(folder: Path) -> None:
    """Of every source, with what is expected."""
    (folder / "worker.toml").write_text("concurency = 2\nhandler_timeout = 'soon'\n")
    (folder / "workers" / "1.toml").write_text("[queues.default]\nprefetch = 1\n")
    lines = problems(folder, sets=["frames=perhaps"], flags={"backend": ["tcp://127.0.0.1"]})
    assert len(lines) == 5
    assert "did you mean concurrency?" in lines[0]
    assert 'handler_timeout: "soon" is not a duration; expected' in lines[1]
    assert "1.toml: queues: is a table" in lines[2]
    assert lines[3].startswith('--set frames: "perhaps" is not true or false')
    assert lines[4].startswith("--backend:")


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1:1",
        "tcp://[::1]:5560",
        "ipc:///run/zqd/backend.sock",
        "tcp://broker-1.example.org:5560",
    ],
)
def test_backend(folder: Path, endpoint: str) -> None:
    """Whatever can be connected to, by address, path or name."""
    assert load(folder / "worker.toml", "1", [f"backend={endpoint}"])[0].backend == (endpoint,)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://*:5560",
        "tcp://0.0.0.0:5560",
        "tcp://[::]:5560",
        "tcp://127.0.0.1:0",
        "tcp://broker:0",
        "tcp://broker:70000",
        "tcp://1.2.3:5560",
        "tcp://-x:1",
        "udp://127.0.0.1:1",
        "",
    ],
)
def test_no_backend(folder: Path, endpoint: str) -> None:
    """Not what cannot be connected to."""
    (line,) = problems(folder, sets=[f"backend={endpoint}"])
    assert line.startswith("--set backend: ")
    assert "expected a list of endpoints" in line


def test_the_last_of_handler_and_command_counts(folder: Path) -> None:
    """An instance that runs a command where all others run a handler says only that, and the other way round."""
    main, own = folder / "worker.toml", folder / "workers" / "1.toml"
    main.write_text("handler = 'a:b'\n")
    own.write_text("command = ['cat']\n")
    assert load(main, "1")[0].command == ("cat",)
    settings, _ = load(main, "1", ["handler=c:d"])
    assert (settings.handler, settings.command) == ("c:d", ())
    assert load(main, "1", ["handler=c:d"], {"command": ["tac"]})[0].command == ("tac",)


def test_handler_and_command_at_once(folder: Path) -> None:
    """One source cannot mean both."""
    (folder / "worker.toml").write_text("handler = 'a:b'\ncommand = ['cat']\n")
    assert problems(folder) == [
        f"{folder}/worker.toml: handler and command are both set; expected one of them"
    ]


def test_what_is_printed_loads_again(folder: Path, tmp_path: Path) -> None:
    """`--print-config` writes a file that means the same, for handlers and for commands."""
    for sets in (["handler=a:b", "drain_timeout=1500ms"], ["command=sed 's/ /\"/'", "python_path=/srv/app"]):
        settings, sources = load(folder / "worker.toml", "1", sets)
        printed = tmp_path / "printed.toml"
        printed.write_text(describe(settings, sources))
        assert load(printed, "none")[0] == settings


def test_what_a_reload_takes() -> None:
    """Settings that need a restart keep their value until then, and are named."""
    old = WorkerSettings(heartbeat_interval=1, concurrency=1)
    new = WorkerSettings(heartbeat_interval=2, concurrency=2, handler="a:b")
    settings, changed, pending = taken_over(old, new)
    assert settings == WorkerSettings(heartbeat_interval=1, concurrency=2, handler="a:b")
    assert (changed, pending) == (["handler", "concurrency"], ["heartbeat_interval"])
    assert old.handler == DEFAULT_HANDLER


def test_the_environments_backend_is_a_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$ZQD_BACKEND counts where nothing else names a broker, and says that it does."""
    monkeypatch.setenv("ZQD_BACKEND", "ipc:///a,tcp://127.0.0.1:5560")
    settings, sources = load(folder / "worker.toml", "1")
    assert settings.backend == ("ipc:///a", "tcp://127.0.0.1:5560")
    assert sources["backend"] == "$ZQD_BACKEND"
    settings, _ = load(folder / "worker.toml", "1", ["backend=ipc:///b"])
    assert settings.backend == ("ipc:///b",)


def test_a_bad_backend_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told like any other bad value."""
    monkeypatch.setenv("ZQD_BACKEND", "nowhere")
    (problem,) = problems(folder)
    assert problem.startswith("$ZQD_BACKEND: ")
    assert "expected a list of" in problem
