"""`load_flat`: the configuration of a program that has keys and no tables, such as zqd-worker.

Same sources, strictness and wording as the broker's (`zqd.config.loader`), for rows of settings that the caller has.
Called by `zqd.worker`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zqd.config.files import read_file
from zqd.config.findings import (
    Findings,
    flag_name,
    from_text,
    from_toml,
    is_given,
    printable,
    unknown_key,
)
from zqd.config.settings import Setting, did_you_mean
from zqd.config.values import Value
from zqd.errors import ConfigError


def load_flat(
    rows: Sequence[Setting],
    files: Sequence[Path],
    sets: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> tuple[dict[str, Value], dict[str, str]]:
    """The value of every row by its key, and where it came from: "default", a file's path, "--set", or the flag.

    `rows` are Settings of scope "worker"; a value that no source gives is the row's default. `files` are read in
    their order, each over the ones before it; one that does not exist is a problem. `sets` are the
    KEY=VALUE texts of `--set`; they come over the files. `flags` come over all, by the keys of rows: texts as
    `--set` would have them, or lists, numbers and truth values as TOML would; None, False or an empty list is a flag
    that was not given.

    Raises ConfigError (exit status 78) with one line for every problem of every source. A key in `flags` that no row
    has is a fault of the program, a ValueError.
    """
    draft = _Flat(rows)
    for file in files:
        tree = read_file(file, draft.problems)
        draft.add_tree(str(file), tree or {})
    for argument in sets:
        draft.add_set(argument)
    for key, value in (flags or {}).items():
        draft.add_flag(key, value)
    if draft.problems:
        raise ConfigError(draft.problems)
    return (
        {row.key: draft.values.get(row.key, row.default) for row in rows},
        {row.key: draft.sources.get(row.key, "default") for row in rows},
    )


class _Flat(Findings):
    """The findings of sources in which every key is at the top."""

    def __init__(self, rows: Sequence[Setting]) -> None:
        super().__init__()
        self._rows = {row.key: row for row in rows}

    def add_tree(self, file: str, tree: Mapping[str, object]) -> None:
        for key, value in tree.items():
            where = f"{file}: {printable(key)}"
            if (row := self._rows.get(key)) is not None:
                self.put(file, key, where, row, from_toml(value))
            elif isinstance(value, dict):
                self.problems.append(
                    f"{where}: is a table, and this file has none{did_you_mean(key, self._rows)}; expected KEY = VALUE "
                    f"with one of {', '.join(self._rows)}"
                )
            else:
                self.problems.append(f"{where}: {unknown_key(key, self._rows)}")

    def add_set(self, argument: str) -> None:
        split = self.split_set(argument, f"{next(iter(self._rows))}=VALUE")
        if split is None:
            return
        key, text = split
        where = f"--set {printable(key)}"
        if (row := self._rows.get(key)) is None:
            self.problems.append(f"{where}: {unknown_key(key, self._rows)}")
        else:
            self.put("--set", key, where, row, from_text(text))

    def add_flag(self, key: str, value: object) -> None:
        if key not in self._rows:
            raise ValueError(f"not a flag of the configuration: {key}")
        if is_given(value):
            flag = flag_name(key)
            reading = from_text(value) if isinstance(value, str) else from_toml(value)
            self.put(flag, key, flag, self._rows[key], reading)
