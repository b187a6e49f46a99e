"""Connects again and again and says nothing: connects.py PLACE..., each a path or HOST:PORT, until standard input ends.

Prints one line of JSON: `made`, and `refused`, each with its reason.
"""

from __future__ import annotations

import json
import select
import socket
import sys

made, refused = 0, []
while not select.select([sys.stdin], [], [], 0.01)[0]:
    for place in sys.argv[1:]:
        unix = place.startswith("/")
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as probe:
            try:
                probe.connect(place if unix else (place.rpartition(":")[0], int(place.rpartition(":")[2])))
                made += 1
            except OSError as error:
                refused.append(f"{place}: {error}")
json.dump({"made": made, "refused": refused}, sys.stdout)
