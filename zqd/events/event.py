"""What an event is, and how it is told to people. Layer 0. Read through `zqd.events`.

A `message` is a template for one line:

    {field}             the field's value; "-" where the event has no such field
    [ … {field} … ]     a clause that is left out where one of its fields is absent, empty or False
    [field?…]           a clause that is there only if that field is, which it need not show
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_PARTS = re.compile(r"\[(?:(\w+)\?)?([^\]]*)\]|([^\[]+)")
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Event:
    """`level` as in `--log-level`; `meaning` is one sentence for the manual.

    `message` is the template of the line for people; `id` its MESSAGE_ID in the journal (systemd.journal-fields(7)), 32
    hexadecimal digits that never change: message catalogs know the event by them.
    """

    level: str
    meaning: str
    message: str
    id: str

    def tell(self, fields: Mapping[str, object]) -> str:
        """The line for people; nothing that a peer chose can begin another one."""
        words: list[str] = []
        for needed, optional, pieces in _compiled(self.message):
            if optional and any(_absent(fields.get(key)) for key in needed):
                continue
            for literal, key in pieces:
                words.append(literal)
                if key:
                    words.append(_harmless(shown(fields.get(key))))
        return "".join(words)

    def fields(self, *, optional: bool = True) -> set[str]:
        """The fields that the message names; without `optional` only those that it cannot do without."""
        return {
            key
            for needed, left_out, _ in _compiled(self.message)
            if optional or not left_out
            for key in needed
        }


def shown(value: object) -> str:
    """A field's value as people read it: `-` for none, yes and no, and a list as its items."""
    if isinstance(value, str):
        return value
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple) and not any(isinstance(item, dict | list | tuple) for item in value):
        return ", ".join(map(shown, value))
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


@functools.cache
def _compiled(message: str) -> list[tuple[tuple[str, ...], bool, list[tuple[str, str]]]]:
    """Each clause as the fields that it needs, whether it may be left out, and its pieces: a literal, a field after it."""
    clauses = []
    for condition, clause, text in _PARTS.findall(message):
        split = [*_FIELD.split(clause or text), ""]
        pieces = list(zip(split[::2], split[1::2], strict=True))
        needed = tuple(key for key in (condition, *split[1::2]) if key)
        clauses.append((needed, not text, pieces))
    return clauses


def _absent(value: object) -> bool:
    """Nothing to tell; a number always is something."""
    return not value and not (isinstance(value, int | float) and value is not False)


def _harmless(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
