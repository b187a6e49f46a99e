"""How long an example takes says nothing on a busy machine, and every run tries the same ones."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("zqd", deadline=None, derandomize=True, database=None)
settings.load_profile("zqd")
