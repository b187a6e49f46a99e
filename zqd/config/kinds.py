"""The sorts of values that a setting can have: how each is read, asked for and written.

A kind puts the readers and writers of `zqd.config.values` together; `zqd.config.settings` gives one to each key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zqd.config.values import (
    Value,
    format_duration,
    format_mode,
    list_to_toml,
    parse_account,
    parse_bool,
    parse_bool_text,
    parse_duration,
    parse_endpoint,
    parse_endpoints,
    parse_endpoints_text,
    parse_int,
    parse_int_text,
    parse_key_file,
    parse_log_target,
    parse_mode,
    parse_networks,
    parse_networks_text,
    parse_size,
    parse_slots,
    parse_slots_text,
    parse_text,
    parse_word,
    parse_words,
    parse_words_text,
    size_to_toml,
    toml_string,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of value. `name` is its word in the manual, `unit` that of its plain numbers (or "")."""

    name: str
    unit: str
    expects: str  # how a message asks for one
    parse: Callable[[object], Value]
    parse_text: Callable[[str], Value]
    to_toml: Callable[[Any], str]


DURATION = Kind(
    "duration",
    "seconds",
    'a duration such as "500ms", "30s", "5m", "2h" or "1d"',
    parse_duration,
    parse_duration,
    lambda seconds: toml_string(format_duration(seconds)),
)
SIZE = Kind("size", "bytes", 'a size such as "64MiB" or "10kB"', parse_size, parse_size, size_to_toml)
INT = Kind("whole number", "", "a whole number", parse_int, parse_int_text, str)
SLOTS = Kind(
    "auto or whole number",
    "",
    'a whole number or "auto"',
    parse_slots,
    parse_slots_text,
    lambda value: str(value) if isinstance(value, int) else toml_string(value),
)
BOOL = Kind(
    "boolean", "", "true or false", parse_bool, parse_bool_text, lambda value: "true" if value else "false"
)
CHOICE = Kind("choice", "", "one of", parse_word, parse_word, toml_string)
ENDPOINT = Kind(
    "endpoint",
    "",
    'an endpoint such as "tcp://127.0.0.1:5559" or "ipc:///run/zqd/frontend.sock"',
    parse_endpoint,
    parse_endpoint,
    toml_string,
)
ENDPOINTS = Kind(
    "list of endpoints",
    "",
    'a list of endpoints such as ["tcp://127.0.0.1:5559", "ipc:///run/zqd/frontend.sock"]',
    parse_endpoints,
    parse_endpoints_text,
    list_to_toml,
)
TEXT = Kind("string", "", "a string", parse_text, parse_text, toml_string)
KEY_FILE = Kind(
    "file with a key",
    "",
    "the absolute path of a .key_secret certificate, or a credential's name",
    parse_key_file,
    parse_key_file,
    toml_string,
)
KEYS = Kind(
    "file or directory of keys",
    "",
    "the absolute path of a list of keys or of a directory of certificates, or a credential's name",
    parse_key_file,
    parse_key_file,
    toml_string,
)
ACCOUNT = Kind(
    "name or number",
    "",
    'a name or a number such as "zqd" or "1000"',
    parse_account,
    parse_account,
    toml_string,
)
NETWORKS = Kind(
    "list of networks",
    "",
    'a list of addresses and networks such as ["10.0.0.0/8", "192.0.2.7"]',
    parse_networks,
    parse_networks_text,
    list_to_toml,
)
WORDS = Kind(
    "list of strings",
    "",
    'a list of strings such as ["grep", "-c", "a"]',
    parse_words,
    parse_words_text,
    list_to_toml,
)
MODE = Kind(
    "file mode",
    "",
    'a file mode in quotes such as "0660"',
    parse_mode,
    parse_mode,
    lambda mode: toml_string(format_mode(mode)),
)
LOG_TARGET = Kind(
    "log target",
    "",
    '"stderr", "syslog" or the absolute path of a file',
    parse_log_target,
    parse_log_target,
    toml_string,
)
