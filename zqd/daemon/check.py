"""What only this machine can tell of a configuration: files of keys, owners of sockets, and the sockets that were passed.

`zqd.config` has asked all that can be asked without it. Layer 4. Called by: `program` (--check-config), `daemon`, `reload`.
"""

from __future__ import annotations

from collections.abc import Iterator

from zqd.config import Config
from zqd.config.findings import Findings
from zqd.daemon.gates import gates
from zqd.daemon.sockets import Place, Sockets
from zqd.endpoints import Access
from zqd.errors import ConfigError
from zqd.net.gate import Gate


def check(config: Config, sockets: Sockets) -> dict[Place, Gate]:
    """The gate of each side, when nothing is wrong; ConfigError has a line for each thing that is."""
    findings = Findings()
    findings.sources |= config.sources
    made = gates(config.queues, findings.problems)
    for key, owner in _owners(config):
        try:
            owner.owner()
        except ValueError as error:
            findings.problems.append(
                f"{findings.where(key)}: {error}; expected one of this machine's, by name or number"
            )
    findings.problems += sockets.problems(config)
    if findings.problems:
        raise ConfigError(findings.problems)
    return made


def _owners(config: Config) -> Iterator[tuple[str, Access]]:
    """Each dotted key that names an owner of sockets, and the owner."""
    yield "control_group", Access(group=config.control_group)
    for queue in config.queues:
        yield f"queues.{queue.name}.socket_user", Access(user=queue.socket_user)
        yield f"queues.{queue.name}.socket_group", Access(group=queue.socket_group)
