"""`load`: from files, `--set` and flags to one checked Config, or to all that is wrong with them.

Precedence: default, file, zqd.toml.d, `--set`, flags. Called by the daemon and its command line. This module
asks what only the whole configuration can answer; single values are checked in `zqd.config.draft`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zqd.config.draft import FLAGS, Draft
from zqd.config.files import read_files
from zqd.config.findings import flag_name, is_given
from zqd.config.result import Config, QueueConfig
from zqd.config.settings import DAEMON_SETTINGS, QUEUE_SETTINGS, Setting, did_you_mean
from zqd.config.values import Value
from zqd.endpoints import parse as parse_endpoint
from zqd.errors import ConfigError
from zqd.rundir import beside

_SIDES = ("frontend", "backend")


def load(
    path: Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    passed: Collection[str] = (),
) -> Config:
    """The configuration of `path` (None: the default file, if there is one), `sets` and `flags`.

    `sets` are the KEY=VALUE texts of `--set`. `flags` may have the keys `frontend`, `backend` (lists of
    texts, for the queue `default`), `control`, `log_level`, `log_format` (texts) and
    `allow_unauthenticated` (bool); None, False or an empty list is a flag that was not given. `passed` are the
    names of the sockets that systemd passed: a side of any queue that has one, such as `jobs.frontend`, needs no endpoint.

    Raises ConfigError with one line for every problem of every source. Any other key in `flags` is a
    fault of the program, a ValueError.
    """
    draft = Draft()
    trees = read_files(path, draft.problems)
    # What stands in a file that could not be read is unknown: nothing is said to be missing then.
    whole = not draft.problems
    for file, tree in trees:
        draft.add_tree(file, tree)
    for argument in sets:
        draft.add_set(argument)
    _add_flags(draft, flags or {}, whole)
    names = tuple(draft.queues) or ("default",)
    if whole:
        _check_complete(draft, names, passed)
        _check_keys(draft, names)
    _check_endpoints(draft, names, whole)
    files = tuple(file for file, _ in trees)
    if draft.problems:
        raise ConfigError(draft.problems)
    return _config(draft, names, files)


def _add_flags(draft: Draft, flags: Mapping[str, object], whole: bool) -> None:
    if unknown := set(flags) - set(FLAGS):
        raise ValueError(f"not flags of the configuration: {', '.join(sorted(unknown))}")
    others = [] if "default" in draft.queues else list(draft.queues)
    for key, value in flags.items():
        if not is_given(value):
            continue
        if key in _SIDES and others and whole:
            draft.problems.append(
                f"{flag_name(key)}: sets the {key} of the queue default, which the configuration does not have "
                f"(it has {', '.join(others)}); expected --set queues.{others[0]}.{key}=ENDPOINT, "
                "or a table [queues.default]"
            )
        else:
            draft.add_flag(key, value)


def _check_complete(draft: Draft, names: Sequence[str], passed: Collection[str]) -> None:
    for name in names:
        if name == "default":
            continue
        rows = [QUEUE_SETTINGS[side] for side in _SIDES if f"{name}.{side}" not in passed]
        missing = [row for row in rows if not draft.mentions(row.path(name))]
        # Without either side the name itself is probably the mistake.
        meant = did_you_mean(name, _named_elsewhere(draft, names, name)) if len(missing) == 2 else ""
        for row in missing:
            unpassed = f" and no socket was passed as {name}.{row.key}" if passed else ""
            draft.problems.append(
                f"{draft.queues[name]}: {row.path(name)}: missing{meant}; expected {row.expected()}, because "
                f"only the queue default has default endpoints{unpassed}"
            )


def _named_elsewhere(draft: Draft, names: Sequence[str], name: str) -> list[str]:
    complete = [other for other in names if f"queues.{other}.frontend" in draft.values]
    return [other for other in [*complete, "default"] if other != name]


def _check_endpoints(draft: Draft, names: Sequence[str], whole: bool) -> None:
    """No endpoint twice, and none that strangers reach unless that was allowed."""
    # If the permission is badly written or in a file that could not be read, that alone is worth a line.
    allowed = bool(draft.values.get("allow_unauthenticated"))
    unknown = not whole or "allow_unauthenticated" in draft.rejected
    first_use: dict[object, str] = {}
    for path, text in _endpoints_in_use(draft, names, whole):
        endpoint = parse_endpoint(text)
        if not (endpoint.is_loopback or allowed or unknown or _is_meant(draft, f"{path}_curve_secret")):
            draft.problems.append(
                f"{draft.where(path)}: {text} can be reached from other machines, and whoever connects would be "
                f"served; expected {path}_curve_secret, a loopback or ipc:// endpoint, or, if that is meant, "
                "allow_unauthenticated = true in the configuration or --allow-unauthenticated"
            )
        if text.startswith("tcp://") and text.endswith(":0"):
            continue  # any free port: another one each time
        if endpoint not in first_use:
            first_use[endpoint] = path
        elif first_use[endpoint] == path:
            draft.problems.append(f"{draft.where(path)}: {text} stands twice; expected every endpoint once")
        else:
            draft.problems.append(
                f"{draft.where(path)}: {text} is already taken by {draft.where(first_use[endpoint])}; "
                "expected every endpoint once"
            )


def _check_keys(draft: Draft, names: Sequence[str]) -> None:
    """A side with a key says who may connect, and one without has nobody to choose among."""
    for name in names:
        for side in _SIDES:
            secret, keys, anonymous = (
                f"queues.{name}.{side}_{key}" for key in ("curve_secret", "authorized_keys", "anonymous")
            )
            if secret in draft.rejected:
                continue  # which has a line already
            if draft.values.get(secret):
                if not (_is_meant(draft, keys) or _is_meant(draft, anonymous)):
                    draft.problems.append(
                        f"{draft.where(secret)}: nobody could connect; expected {keys}, or {anonymous} = true to let "
                        "everybody in"
                    )
            else:
                draft.problems += [
                    f"{draft.where(path)}: means nothing without a key of zqd's own; expected {secret} as well"
                    for path in (keys, anonymous)
                    if draft.values.get(path)
                ]


def _is_meant(draft: Draft, path: str) -> bool:
    """Whether dotted key `path` has a value that is not empty or false, or a bad one, which has its own line."""
    return bool(draft.values.get(path)) or path in draft.rejected


def _endpoints_in_use(draft: Draft, names: Sequence[str], whole: bool) -> list[tuple[str, str]]:
    """(dotted key, endpoint) of every endpoint that would be bound, as far as it is known."""
    used = _own_endpoints(draft)
    for name in names:
        for side in _SIDES:
            row = QUEUE_SETTINGS[side]
            texts = draft.values.get(row.path(name))
            if name == "default" and whole and not draft.mentions(row.path(name)):
                texts = row.default
            if isinstance(texts, tuple):
                used += [(row.path(name), text) for text in texts]
    return used


def _own_endpoints(draft: Draft) -> list[tuple[str, str]]:
    """(dotted key, endpoint) of the daemon's own sockets, as far as they do not depend on the run directory."""
    used = []
    for key in ("control", "status", "events"):
        text = draft.values.get(key)
        if not isinstance(text, str):
            if not draft.mentions(key) and (text := _beside_control(draft, key)):
                used.append((key, text))
        elif text.startswith("ipc://"):
            used.append((key, text))
        else:  # who may do what there is said by a file's mode
            draft.problems.append(f"{draft.where(key)}: {text} is no path; expected ipc:///PATH")
    return used


def _beside_control(draft: Draft, key: str) -> str | None:
    control = draft.values.get("control")
    if key == "control" or not isinstance(control, str) or not control.startswith("ipc://"):
        return None
    text = f"ipc://{beside(Path(control.removeprefix('ipc://')), key)}"
    try:
        parse_endpoint(text)
    except ValueError as error:
        draft.problems.append(
            f"{draft.where('control')}: the socket {key} lies beside it, and {error}; expected a shorter path, "
            f"or {key} = ENDPOINT"
        )
        return None
    return text


def _effective(draft: Draft, row: Setting, name: str) -> Value:
    # A queue other than `default` that names no endpoints was found complete without: it has passed sockets.
    default = () if row.key in _SIDES and name != "default" else row.default
    return draft.values.get(row.path(name), default)


def _config(draft: Draft, names: Sequence[str], files: tuple[str, ...]) -> Config:
    daemon: dict[str, Any] = {key: _effective(draft, row, "") for key, row in DAEMON_SETTINGS.items()}
    paths = [row.path("") for row in DAEMON_SETTINGS.values()]
    queues = []
    for name in names:
        values: dict[str, Any] = {key: _effective(draft, row, name) for key, row in QUEUE_SETTINGS.items()}
        queues.append(QueueConfig.of(name, values))
        paths += [row.path(name) for row in QUEUE_SETTINGS.values()]
    sources = {path: draft.sources.get(path, "default") for path in paths}
    return Config(queues=tuple(queues), sources=MappingProxyType(sources), files=files, **daemon)
