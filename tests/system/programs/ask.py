"""One request of an unmodified REQ client: ask.py ENDPOINT TEXT [SECONDS]; prints the reply."""

from __future__ import annotations

import sys

import zmq

endpoint, text, *rest = sys.argv[1:]
socket = zmq.Context().socket(zmq.REQ)
socket.linger = 0
socket.rcvtimeo = int(float(rest[0] if rest else 60) * 1000)
socket.connect(endpoint)
socket.send_string(text)
try:
    sys.stdout.write(socket.recv_string())
except zmq.Again:
    sys.exit("no reply")
