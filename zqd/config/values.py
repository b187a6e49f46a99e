"""How one value is written: durations, sizes, numbers, texts, endpoints, from TOML or text and back.

Readers of TOML values, readers of the bare text of `--set` or a flag, and writers of TOML; `zqd.config.kinds` puts them
together. They know no key, no bound and no file: `zqd.config.draft` says where a bad value stood.

Every reader raises ValueError with a clause that says what is wrong ("5 is not true or false"), without
what is expected: that is the setting's to say.
"""

from __future__ import annotations

import ipaddress
import math
import re
import shlex
from collections.abc import Callable, Iterable

from zqd.endpoints import parse as parse_endpoint_text
from zqd.keys.z85 import looks_like_key

_TYPE_NAMES: dict[type, str] = {dict: "a table", list: "a list", tuple: "a list", type(None): "nothing"}

Value = bool | int | float | str | tuple[str, ...] | None
"""What a setting can hold: durations are float seconds, sizes int bytes, endpoints canonical text."""

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # IPv4 in IPv6 (RFC 4291, 2.5.5.2)
_SHOWN = 60  # characters of a bad value that a message repeats
# More digits than any bound has, and few enough for int(), which refuses thousands of them.
_NUMBER = r"[+-]?[0-9](?:_?[0-9]){0,30}"

_DURATION_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?) ?(ms|s|m|h|d)?")

_SIZE_UNITS = {
    "TiB": 1 << 40,
    "TB": 10**12,
    "GiB": 1 << 30,
    "GB": 10**9,
    "MiB": 1 << 20,
    "MB": 10**6,
    "KiB": 1 << 10,
    "kB": 10**3,
}
_SIZE = re.compile(rf"({_NUMBER})(?:\.([0-9]{{1,15}}))? ?([A-Za-z]*)")
_SIZE_FACTORS = {unit.lower(): factor for unit, factor in _SIZE_UNITS.items()} | {"": 1, "b": 1}


def shown(value: object) -> str:
    """`value` as a message repeats it: short, printable, on one line, whatever it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        short = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
        return f'"{short}"' if short.isprintable() and '"' not in short else repr(short)
    if isinstance(value, int):
        # str() of an int of thousands of digits (TOML's 0xfff…) raises.
        return str(value) if abs(value) < 10**_SHOWN else "a number of more than 60 digits"
    return _TYPE_NAMES.get(type(value)) or str(value)


def parse_each(parse: Callable[[object], str], items: Iterable[object]) -> tuple[str, ...]:
    """What `parse` makes of each; ValueError has what is wrong with any of them."""
    parsed, problems = [], []
    for item in items:
        try:
            parsed.append(parse(item))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(parsed)


def _not(value: object, wanted: str) -> ValueError:
    return ValueError(f"{shown(value)} is not {wanted}")


def _printable(text: str) -> str:
    # Keeps lone surrogates (an argument that is not UTF-8) and control characters out of paths and logs.
    if text.isprintable():
        return text
    raise ValueError(f"{shown(text)} has characters that cannot be printed")


def _parse_argument(value: object) -> str:
    if not isinstance(value, str):
        raise _not(value, "a string")
    try:
        if b"\0" not in value.encode():
            return value
    except UnicodeEncodeError:
        pass
    raise ValueError(f"{shown(value)} has a NUL or bytes that are not UTF-8")


def parse_duration(value: object) -> float:
    """Seconds of "500ms", "30s", "5m", "2h", "1d" or of a plain number (seconds), as text or number."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise _not(value, "a duration")
        number = float(match[1])
        # Divided, not multiplied by 0.001: 500ms and 0.5 must be the same float.
        seconds = number / 1000 if match[2] == "ms" else number * _DURATION_UNITS[match[2] or "s"]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    else:
        raise _not(value, "a duration")
    if not math.isfinite(seconds):
        raise _not(value, "a finite duration")
    return seconds


def format_duration(seconds: float) -> str:
    """`seconds` in the largest unit that writes it whole; `parse_duration` gives the same float back."""
    if seconds == 0:
        return "0s"
    for unit, factor in _DURATION_UNITS.items():
        if seconds % factor == 0:
            return f"{int(seconds / factor)}{unit}"
    if abs(seconds) < 1:
        milliseconds = round(seconds * 1000)
        if milliseconds / 1000 == seconds:
            return f"{milliseconds}ms"
    return f"{seconds!r}s"


def parse_size(value: object) -> int:
    """Bytes of "64MiB", "10kB", "1.5GiB", "4096", or of a plain whole number; units in any case."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[3].lower() not in _SIZE_FACTORS:
        raise _not(value, "a size")
    decimals = match[2] or ""
    scale: int = 10 ** len(decimals)
    size, rest = divmod(int(match[1] + decimals) * _SIZE_FACTORS[match[3].lower()], scale)
    if rest:
        raise _not(value, "a whole number of bytes")
    return size


def format_size(size: int) -> str:
    """`size` bytes in the unit that writes it whole in the smallest number ("64MiB", "10kB", "1500")."""
    for unit, factor in _SIZE_UNITS.items():
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def parse_int(value: object) -> int:
    """A whole number, from TOML's integer only."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _not(value, "a whole number")


def parse_int_text(text: str) -> int:
    """A whole number from decimal digits, with or without sign and TOML's underscores."""
    if re.fullmatch(_NUMBER, text.strip()):
        return int(text)
    raise _not(text, "a whole number")


def parse_slots(value: object) -> int | str:
    """A whole number, or the word `auto`."""
    return "auto" if value == "auto" else parse_int(value)


def parse_slots_text(text: str) -> int | str:
    """The same from text."""
    return "auto" if text.strip() == "auto" else parse_int_text(text)


def parse_bool(value: object) -> bool:
    """A truth value, from TOML's true and false only."""
    if isinstance(value, bool):
        return value
    raise _not(value, "true or false")


def parse_bool_text(text: str) -> bool:
    """A truth value from the words `true` and `false`."""
    words = {"true": True, "false": False}
    if text.strip() in words:
        return words[text.strip()]
    raise _not(text, "true or false")


def parse_word(value: object) -> str:
    """A string; whether it is among the setting's choices is for the setting to say."""
    if isinstance(value, str):
        return value.strip()
    raise _not(value, "a string")


def parse_text(value: object) -> str:
    """A string of one printable line."""
    if not isinstance(value, str):
        raise _not(value, "a string")
    return _printable(value.strip())


def parse_key_file(value: object) -> str:
    """A file of keys, by its absolute path or as a credential; "" for none. What is neither is not repeated: it may be a secret."""
    if not isinstance(value, str):
        raise ValueError("it is not a string")
    text = value.strip()
    if looks_like_key(text):
        raise ValueError("it is a key itself and not the file that has it")
    if text.startswith("/") and text.isprintable():
        return text
    if re.fullmatch(r"[A-Za-z0-9._@-]*", text):
        return text
    raise ValueError("it is neither an absolute path nor a credential's name")


def parse_account(value: object) -> str:
    """A user's or group's name or number, as text."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return shown(value)
    if isinstance(value, str):
        return _printable(value.strip())
    raise _not(value, "a name or a number")


def parse_words(value: object) -> tuple[str, ...]:
    """A list of strings, such as a command and its arguments (line breaks allowed)."""
    if not isinstance(value, list | tuple):
        raise _not(value, "a list of strings")
    return parse_each(_parse_argument, value)


def parse_words_text(text: str) -> tuple[str, ...]:
    """The words of a command line, quoted as for a shell."""
    try:
        return parse_words(shlex.split(text))
    except ValueError as error:  # a quotation without an end
        raise ValueError(f"{shown(text)}: {error}") from None


def parse_networks(value: object) -> tuple[str, ...]:
    """The canonical texts of addresses and networks; none is fine."""
    if not isinstance(value, list | tuple):
        raise _not(value, "a list of networks")
    return parse_each(_parse_network, value)


def parse_networks_text(text: str) -> tuple[str, ...]:
    """The canonical texts of comma-separated addresses and networks."""
    return parse_networks([part.strip() for part in text.split(",") if part.strip()])


def _parse_network(value: object) -> str:
    text = value if isinstance(value, str) else shown(value)
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise _not(value, "an address or a network (no bit set behind its prefix)") from None
    if "%" in text:  # a zone (RFC 4007), without which peers' addresses are compared
        raise ValueError(f"{shown(value)} has a zone, and would match nobody")
    if network.version == 6 and network.subnet_of(_MAPPED):  # as which no peer's address is compared either
        network = ipaddress.ip_network((network.network_address.packed[-4:], network.prefixlen - 96))
    return str(network)


def parse_mode(value: object) -> int:
    """A file mode from octal digits, "0660" or "660"; never from a number: 660 would be 0o1224."""
    if isinstance(value, str) and (match := re.fullmatch(r"(?:0o)?([0-7]{1,6})", value.strip())):
        return int(match[1], 8)
    raise _not(value, "a string of octal digits" if isinstance(value, int) else "a file mode")


def format_mode(mode: int) -> str:
    """`mode` in octal digits as for chmod(1), "0660"."""
    return f"0{mode:03o}"


def parse_log_target(value: object) -> str:
    """`stderr`, `syslog` or an absolute path."""
    text = parse_text(value)
    if text in ("stderr", "syslog") or text.startswith("/"):
        return text
    raise _not(value, "a place for a log")


def parse_endpoint(value: object) -> str:
    """The canonical text of one endpoint."""
    if not isinstance(value, str):
        raise _not(value, "an endpoint")
    text = _printable(value).strip()
    try:
        return str(parse_endpoint_text(text))
    except ValueError as error:
        reason = str(error)
        raise ValueError(reason if value and value in reason else f"{shown(value)}: {reason}") from None


def parse_endpoints(value: object) -> tuple[str, ...]:
    """The canonical texts of a list of at least one endpoint."""
    if not isinstance(value, list | tuple):
        raise _not(value, "a list of endpoints")
    if not value:
        raise ValueError("the list is empty")
    return parse_each(parse_endpoint, value)


def parse_endpoints_text(text: str) -> tuple[str, ...]:
    """The canonical texts of comma-separated endpoints."""
    return parse_endpoints(text.split(","))


def toml_string(text: str) -> str:
    """`text` as a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def list_to_toml(texts: tuple[str, ...]) -> str:
    """`texts` as a TOML array of strings."""
    return "[" + ", ".join(map(toml_string, texts)) + "]"


def size_to_toml(size: int) -> str:
    """`size` as TOML: a plain number, or text with its unit."""
    text = format_size(size)
    return text if text == str(size) else toml_string(text)
