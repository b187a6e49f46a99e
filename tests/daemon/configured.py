"""A zqd of a configuration file that a test writes anew and has read again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.processes import PATIENCE, Zqd, wait_for

Reply = dict[str, Any]

DEFAULT = '[queues.default]\nfrontend = ["tcp://127.0.0.1:0"]\nbackend = ["tcp://127.0.0.1:0"]\n'
"""The queue default at ports that the kernel chooses; further lines are settings of it."""


class ConfiguredZqd(Zqd):
    """A zqd whose configuration is in `zqd.toml` in `folder`."""

    def __init__(self, folder: Path, text: str = DEFAULT, wrapper: tuple[str, ...] = ()) -> None:
        self.config_path = folder / "zqd.toml"
        self.write(text)
        super().__init__(folder, "--config", str(self.config_path), frontend=(), backend=(), wrapper=wrapper)

    def queue(self, name: str = "") -> Reply:
        """One queue's row of the status; without a name that of the first."""
        return next(row for row in self.status()["queues"] if name in {"", row["name"]})

    def write(self, text: str) -> None:
        """Another configuration, which nobody has read yet."""
        self.config_path.write_text(text)

    def reload(self, text: str) -> Reply:
        """Write and read it; what the reload answers."""
        self.write(text)
        result = self.control("reload")
        assert isinstance(result, dict)
        return result

    def refused(self, text: str) -> str:
        """Write and read it, to no avail: the sentence."""
        self.write(text)
        reply = self.ask(self.control_path, "reload")
        assert (reply["ok"], reply["code"]) == (False, "failed"), reply
        sentence = reply["error"]
        assert isinstance(sentence, str)
        return sentence

    def hang_up(self) -> None:
        """SIGHUP; returns when that reload is over."""
        assert self.process is not None
        done = len(self.log("config.reloaded") + self.log("config.rejected"))
        self.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: len(self.log("config.reloaded") + self.log("config.rejected")) > done,
            "the reload to be over",
        )

    def zqctl(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, output and errors of a zqctl."""
        command = [sys.executable, "-m", "zqd.ctl", "--control", f"ipc://{self.control_path}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr
