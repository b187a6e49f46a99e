"""The configuration: one table of settings, and `load`, which fills it from files, `--set` and flags.

Start reading at `settings.SETTINGS`. Values are written as `values` says, read per source by `files` and
`draft`, put together by `loader.load`, and handed out as `result.Config`; `changes.compare` says how two differ.
`flat.load_flat` does the same for programs that have keys and no tables.
"""

from zqd.config.changes import Change, Changes, compare, settle
from zqd.config.files import DEFAULT_PATH
from zqd.config.loader import load
from zqd.config.result import Config, QueueConfig, describe
from zqd.config.settings import DAEMON_SETTINGS, QUEUE_SETTINGS, SETTINGS, Setting

__all__ = [
    "DAEMON_SETTINGS",
    "DEFAULT_PATH",
    "QUEUE_SETTINGS",
    "SETTINGS",
    "Change",
    "Changes",
    "Config",
    "QueueConfig",
    "Setting",
    "compare",
    "describe",
    "load",
    "settle",
]
