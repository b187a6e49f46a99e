"""`zqctl keygen`: write a new pair of CURVE keys, as certificates that zqd, zqd-worker and `zmq.auth` read.

Asks nobody. Called by `zqd.ctl.local`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.local import Session
from zqd.errors import UnavailableError, UsageError
from zqd.keys.pair import write_pair


def run(session: Session, args: dict[str, Any]) -> int:
    """Write NAME.key and NAME.key_secret, never over a file that is there."""
    try:
        public, secret, key = write_pair(Path(args["directory"]), args["name"])
    except UsageError as error:
        raise ControlError(ExitStatus.USAGE, str(error)) from None
    except UnavailableError as error:
        raise ControlError(ExitStatus.ERROR, str(error)) from None
    except ImportError:
        raise ControlError(ExitStatus.ERROR, "keys need the Python package PyNaCl (python3-nacl)") from None
    if session.json:
        answer = {"public": str(public), "secret": str(secret), "public_key": key}
        session.write(json.dumps(answer, indent=2) + "\n")
    else:
        session.write(
            f"{secret}  the secret half, for its owner alone\n{public}  the public half, for the other side\n{key}\n"
        )
    return ExitStatus.OK
