"""A plain REP program, as the seed's: rep.py ENDPOINT ANSWER; answers every request, until its standard input ends."""

from __future__ import annotations

import sys

import zmq

endpoint, answer = sys.argv[1:]
socket = zmq.Context().socket(zmq.REP)
socket.linger = 0
socket.connect(endpoint)
poller = zmq.Poller()
poller.register(socket, zmq.POLLIN)
poller.register(sys.stdin.fileno(), zmq.POLLIN)
while True:
    ready = dict(poller.poll())
    if socket in ready:
        socket.recv()
        socket.send_string(answer)
    else:
        break
