from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zqd
from zqd.client import errors


def loaded(program: str) -> set[str]:
    """The modules that a new Python has after this."""
    program += "; import sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-I", "-c", PATH + program], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


PATH = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}; "


def test_the_package_alone_loads_nothing() -> None:
    """zqd, zqctl and every module of theirs begin with it."""
    assert loaded("import zqd") - loaded("pass") - {"__future__"} == {"zqd"}


def test_a_name_loads_its_module() -> None:
    """When it is asked for."""
    modules = loaded("from zqd import Client")
    assert {"zqd.client.blocking", "zmq"} <= modules
    assert not {"zqd.client.tasks", "asyncio"} & modules
    assert "zqd.client.tasks" in loaded("from zqd import AsyncClient")


@pytest.mark.parametrize(
    "name", [name for name, home in zqd._HOMES.items() if home.startswith("zqd.client.")]
)
def test_every_public_name_is_there(name: str) -> None:
    """From its home, and in dir()."""
    assert getattr(zqd, name).__module__ == zqd._HOMES[name]
    assert name in dir(zqd)


def test_all_of_it() -> None:
    """`from zqd import *` brings every one, and nothing else."""
    names: dict[str, object] = {}
    exec("from zqd import *", names)  # noqa: S102 - no function can say that
    assert names.keys() - {"__builtins__"} == set(zqd._HOMES)


def test_type_checkers_see_every_one() -> None:
    """They read imports, not the table: the same names from the same homes, each as itself, which makes it public."""
    tree = ast.parse(Path(zqd.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    seen = {name.asname: node.module for node in imports for name in node.names if name.asname == name.name}
    assert seen == zqd._HOMES


def test_every_failure_is_public() -> None:
    """Whoever can get one can catch it by name."""
    failures = {name for name in vars(errors) if isinstance(vars(errors)[name], type)} - {"FailureCode"}
    assert failures <= set(zqd._HOMES)


def test_a_name_that_is_not_there() -> None:
    """Is missed in Python's own words."""
    with pytest.raises(AttributeError, match="module 'zqd' has no attribute 'Clients'"):
        getattr(zqd, "Clients")  # noqa: B009 - mypy knows as much
