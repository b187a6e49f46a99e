from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import zqd

ROOT = Path(zqd.__file__).parent

# The layers of README.md. A part is a module or a package right below `zqd`; "" is `zqd` itself, the version.
LAYERS: dict[str, int] = {
    # 0: words
    "": 0,
    "errors": 0,
    "events": 0,
    "standard": 0,
    "stats": 0,
    # 1: pure core
    "core": 1,
    "zmtp": 1,
    # 2: settings
    "config": 2,
    "endpoints": 2,
    "rundir": 2,
    "keys": 2,
    # 3: shells
    "control": 3,
    "net": 3,
    "snapshot": 3,
    # 4: edge
    "daemon": 4,
    "logs": 4,
    "systemd": 4,
    # 5: programs; they do not know each other
    "client": 5,
    "ctl": 5,
    "handlers": 5,
    "worker": 5,
}
PROGRAMS = 5
SAME_LAYER_REFUSED = {("zmtp", "core")}  # the protocol is below what is done with it
SAME_PROGRAM = {("worker", "handlers")}

PURE = {"core", "zmtp"}
IMPURE = {"asyncio", "logging", "os", "random", "select", "socket", "structlog", "threading", "time", "zmq"}


def test_imports_point_down_only() -> None:
    """No module knows one of a layer above it, wherever in it the import stands."""
    assert [fault for path in _sources() for fault in layer_faults(_name(path), path.read_text())] == []


def test_the_pure_core_imports_nothing_that_touches_the_world() -> None:
    """No I/O, no clock, no randomness, no logger: its owner hands it the clock's value and the random bytes."""
    assert [fault for path in _sources() for fault in impurities(_name(path), path.read_text())] == []


def test_every_part_has_a_layer() -> None:
    """A new module has to say where it belongs."""
    unknown = sorted({_part(_name(path)) for path in _sources()} - set(LAYERS))
    assert not unknown, (
        f"add {', '.join(unknown)} to LAYERS in {Path(__file__).name}, and to the table in README.md"
    )


# That these tests can fail


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        (
            "zqd.core.queue",
            "from zqd.config import load",
            "zqd.core.queue (layer 1) imports zqd.config (layer 2)",
        ),
        ("zqd.errors", "import zqd.stats, zqd.core.queue", "zqd.errors (layer 0) imports zqd.core (layer 1)"),
        (
            "zqd.zmtp.frames",
            "from zqd.core import peers",
            "zqd.zmtp.frames (layer 1) imports zqd.core (layer 1)",
        ),
        ("zqd.config.files", "from zqd import logs", "zqd.config.files (layer 2) imports zqd.logs (layer 4)"),
        (
            "zqd.net.loop",
            "def f():\n    import zqd.daemon",
            "zqd.net.loop (layer 3) imports zqd.daemon (layer 4)",
        ),
        ("zqd.daemon", "from zqd.ctl import main", "zqd.daemon (layer 4) imports zqd.ctl (layer 5)"),
        ("zqd.worker", "import zqd.client", "zqd.worker (layer 5) imports zqd.client (layer 5)"),
        ("zqd.core.queue", "from zqd import core, net", "zqd.core.queue (layer 1) imports zqd.net (layer 3)"),
    ],
)
def test_an_edge_that_points_up_is_named(module: str, source: str, fault: str) -> None:
    """With both its ends."""
    assert layer_faults(module, source) == [f"{fault}: imports point down only"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "zqd.core.queue",
            "from zqd.core.peers import Client\nfrom zqd.zmtp.frames import Raw\nimport zqd.errors",
        ),
        ("zqd.daemon", "from zqd import __version__, logs\nimport structlog"),
        (
            "zqd.ctl.program",
            "import zqd\nfrom zqd.control.commands import COMMANDS\nfrom zqd.ctl import tables",
        ),
        ("zqd.worker", "from zqd.handlers import load"),
    ],
)
def test_an_edge_that_points_down_is_right(module: str, source: str) -> None:
    """So is one within a part."""
    assert layer_faults(module, source) == []


def test_a_module_of_no_layer_has_no_edges() -> None:
    """It is the other test that asks for its layer."""
    assert layer_faults("zqd.novelty", "import zqd.daemon") == []
    assert layer_faults("zqd.daemon", "import zqd.novelty") == []


@pytest.mark.parametrize(
    "source", ["import os", "import os.path as p", "from time import monotonic", "import zmq.asyncio"]
)
def test_an_impure_import_is_named(source: str) -> None:
    """In whatever form it comes."""
    assert len(impurities("zqd.core.queue", source)) == 1
    assert impurities("zqd.net.loop", source) == []


# How it is found


def layer_faults(module: str, source: str) -> list[str]:
    """Each import of this module that does not point down."""
    part = _part(module)
    faults = []
    for target in dict.fromkeys(map(_part, _imports(source))):
        own, other = LAYERS.get(part), LAYERS.get(target)
        if own is None or other is None or part == target or (part, target) in SAME_PROGRAM:
            continue
        if other > own or (own == other == PROGRAMS) or (part, target) in SAME_LAYER_REFUSED:
            name = f"zqd.{target}"
            faults.append(f"{module} (layer {own}) imports {name} (layer {other}): imports point down only")
    return faults


def impurities(module: str, source: str) -> list[str]:
    """Each import of a pure module that touches the world."""
    if _part(module) not in PURE:
        return []
    found = (name for name in _imports(source) if name.split(".")[0] in IMPURE)
    return [f"{module} imports {name}: the core is pure" for name in found]


def _imports(source: str) -> Iterator[str]:
    """The full names of the modules that a source imports, at its top or within; `from zqd import x` is `zqd.x`."""
    for node in _nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "zqd":
                yield from (f"zqd.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            else:
                yield node.module


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A tree's nodes without what only type checkers see: the package itself offers names of the programs, by name alone."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _nodes(child)


def _part(module: str) -> str:
    """The name right below `zqd`; none for others' modules, which have no layer here."""
    top, _, rest = module.partition(".")
    return rest.split(".")[0] if top == "zqd" else "(not ours)"


def _name(path: Path) -> str:
    parts = ("zqd", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))
