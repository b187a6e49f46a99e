from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.worker import samples
from zqd.errors import ConfigError
from zqd.worker.handler import PythonHandler, load
from zqd.worker.job import Failed, Job


def job(*body: bytes) -> Job:
    """A job with this body."""
    return Job([bytes(16), b"client", b"", *body], cast("Any", SimpleNamespace(connection=None)))


def handler(target: Callable[..., Any], *, frames: bool = False, limit: int = 0) -> PythonHandler:
    """A target as handler."""
    return PythonHandler(target, "test", frames=frames, max_reply_size=limit)


def answer(target: Callable[..., Any], *body: bytes, frames: bool = False, limit: int = 0) -> list[bytes]:
    """What a target answers."""
    reply = handler(target, frames=frames, limit=limit).call(job(*body))
    return asyncio.run(_result(reply)) if isinstance(reply, Awaitable) else reply


async def _result(reply: Awaitable[list[bytes]]) -> list[bytes]:
    return await reply


def test_bytes() -> None:
    """A callable takes the body and gives the reply."""
    assert answer(samples.echo, b"x") == [b"x"]
    assert answer(lambda _: bytearray(b"y"), b"x") == [b"y"]
    assert answer(lambda body: memoryview(body)[1:], b"xz") == [b"z"]


def by_sequence(frames: Sequence[bytes]) -> Sequence[bytes]:
    """Annotated with another word for a list."""
    return tuple(frames[::-1])


def by_attribute(frames):  # type: ignore[no-untyped-def]  # that is what is tested
    """Not annotated at all."""
    return frames[::-1]


by_attribute.frames = True  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", [samples.turn_round, by_sequence, by_attribute])
def test_frames(target: Callable[..., Any]) -> None:
    """By annotation or by an attribute a handler takes a list of frames, one frame too."""
    assert answer(target, b"a", b"b") == [b"b", b"a"]
    assert answer(target, b"a") == [b"a"]


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize(
    ("annotated", "frames"),
    [
        ("frames: list[bytes]", True),
        ("frames: 'list[bytes]'", True),
        ("frames: typing.Sequence[bytes]", True),
        ("frames: typing.Annotated[list[bytes], 'x']", True),
        ("frames: tuple[bytes, ...], more: 'Unknown' = None", True),
        ("frames: list[bytes], more: 'not Python' = None", True),
        ("frames: 'list[Unknown]'", True),
        ("frames: 'collections.abc.Sequence[bytes]'", True),  # of a module that is not imported there
        ("frames: list", True),
        ("body: bytes, more: list[bytes] = ()", False),
        ("body: 'Unknown'", False),
        ("body: 'not Python'", False),
        ("body: 'listing[bytes]'", False),
        ("body: 3", False),
        ("body: dict[str, list[bytes]]", False),
        ("*bodies", False),
        ("", False),
    ],
)
def test_annotation(module: Path, future: str, annotated: str, frames: bool) -> None:
    """The first parameter's annotation counts, as it is or as a text, whatever is wrong with it or with others."""
    module.write_text(
        f"{future}import functools, typing\n"
        f"def answer({annotated}) -> 'Unknown': return 1\n"
        "class Answer:\n"
        f"    def __call__(self, {annotated}) -> 'Unknown': return 1\n"
        "    method = __call__\n"
        "made = Answer()\n"
        "method = made.method\n"
        "partial = functools.partial(answer)\n"
        "wrapped = functools.wraps(answer)(lambda *arguments: 1)\n"
    )
    names = ("answer", "Answer", "made", "method", "partial", "wrapped")
    loaded = {name: load(f"handler_under_test:{name}", max_reply_size=0) for name in names}
    assert {name: handler._frames for name, handler in loaded.items()} == dict.fromkeys(names, frames)


def test_frames_by_setting() -> None:
    """The setting says it for a handler that says nothing."""
    assert answer(lambda frames: frames * 2, b"a", frames=True) == [b"a", b"a"]


@pytest.mark.parametrize("target", [samples.echo, samples.Counter(), samples.wait_for_file_async, len])
def test_no_frames(target: Callable[..., Any]) -> None:
    """One that takes bytes gets no list: a request of two frames fails."""
    with pytest.raises(Failed, match="a request of 2 frames, and the handler takes one"):
        handler(target).call(job(b"a", b"b"))


@pytest.mark.parametrize(
    ("returned", "kind"), [(None, "nothing"), ("text", "str"), (3, "int"), ([b"a"], "list")]
)
def test_wrong_type(returned: object, kind: str) -> None:
    """What is not bytes is no reply; the log gets to know what it was."""
    with pytest.raises(Failed, match="the handler returned no reply") as failed:
        answer(lambda _: returned, b"x")
    assert failed.value.details == {"returned": kind, "expected": "bytes"}


@pytest.mark.parametrize(
    ("returned", "kind"), [(None, "nothing"), (b"a", "bytes"), ([], "list"), ([b"a", "b"], "str")]
)
def test_wrong_type_of_frames(returned: object, kind: str) -> None:
    """Neither is what is no list of bytes, where frames are due; an empty list is no message."""
    with pytest.raises(Failed, match="the handler returned no reply") as failed:
        answer(lambda _: returned, b"x", frames=True)
    assert failed.value.details["returned"] == kind


def test_large_reply() -> None:
    """All frames together are bounded, the bound included."""
    assert answer(samples.echo, b"1234", limit=4) == [b"1234"]
    with pytest.raises(Failed, match="the reply is larger than 3 bytes"):
        answer(samples.echo, b"1234", limit=3)
    with pytest.raises(Failed, match="the reply is larger than 3 bytes"):
        answer(samples.turn_round, b"12", b"34", limit=3)


@pytest.mark.parametrize(
    "target", [samples.misbehave_async, samples.AsyncCounter, partial(samples.misbehave_async)]
)
def test_async(target: Callable[..., Any]) -> None:
    """Coroutine functions, objects that are called as one, and what functools makes of them."""
    assert handler(target).is_async
    assert answer(target, b"x") == [b"x"]


def test_class() -> None:
    """A class is called once; `setup` and `close` are those of its object."""
    made = handler(samples.Counter)
    assert not made.is_async
    made.setup()
    assert made.call(job(b"x")) == [b"x"]
    made.close()
    counter = made._object
    assert counter.calls == ["setup", "x", "close"]


def test_without_setup() -> None:
    """Neither has to be there."""
    plain = handler(samples.echo)
    plain.setup()
    plain.close()
    plain.abort()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("hello", "names nothing"),
        (":hello", "names nothing"),
        ("zqd.handlers:", "names nothing"),
        ("zqd.handlers:hallo", "AttributeError: module 'zqd.handlers' has no attribute 'hallo'"),
        ("zqd.nothing:hello", "ModuleNotFoundError: No module named 'zqd.nothing'"),
        (
            "tests.worker.samples:__name__",
            "TypeError: tests.worker.samples:__name__ is str, which cannot be called",
        ),
        ("..x:y", "cannot be had"),
    ],
)
def test_no_handler(spec: str, reason: str) -> None:
    """What cannot be had is a fault of the configuration, told in one line."""
    with pytest.raises(ConfigError) as refused:
        load(spec, max_reply_size=0)
    (line,) = refused.value.problems
    assert line.startswith("handler: ")
    assert reason in line
    assert line.endswith("expected MODULE:NAME of a callable, such as zqd.handlers:hello")


def test_load() -> None:
    """MODULE:NAME, and a name within a class."""
    assert load("zqd.handlers:hello", max_reply_size=0).label == "zqd.handlers:hello"
    nested = load("tests.worker.samples:Counter.__call__", max_reply_size=0)
    assert nested.label == "tests.worker.samples:Counter.__call__"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a module that tests may write, called `handler_under_test`."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "handler_under_test.py"
    sys.modules.pop("handler_under_test", None)


def test_fresh(module: Path) -> None:
    """`fresh` takes the module as it is now; the one before goes on as it was."""
    module.write_text("WORD = b'old'\ndef answer(_): return WORD\n")
    old = load("handler_under_test:answer", max_reply_size=0)
    module.write_text("WORD = b'newer'\ndef answer(_): return WORD\n")
    new = load("handler_under_test:answer", max_reply_size=0, fresh=True)
    assert (old.call(job(b"")), new.call(job(b""))) == ([b"old"], [b"newer"])


@pytest.mark.parametrize(
    "text",
    [
        "def answer(",
        "raise SystemExit",
        "other = 1",
        "class E(Exception):\n def __str__(_): return 5\nraise E",
    ],
)
def test_fresh_and_bad(module: Path, text: str) -> None:
    """A module that cannot be taken leaves the one before where it was."""
    module.write_text("def answer(_): return b'old'\n")
    load("handler_under_test:answer", max_reply_size=0)
    before = sys.modules["handler_under_test"]
    module.write_text(text)
    with pytest.raises(ConfigError, match="handler: handler_under_test:answer cannot be had"):
        load("handler_under_test:answer", max_reply_size=0, fresh=True)
    assert sys.modules["handler_under_test"] is before
