"""The seed's queue_server.py in Python 3: print(), bytes on the socket, nothing else changed.

An acceptance test: it must run against `zqd` without any further change.
"""

import zmq
import time
import sys
import random

port = "5560"
context = zmq.Context()
socket = context.socket(zmq.REP)
socket.connect("tcp://localhost:%s" % port)
server_id = random.randrange(1,10005)
while True:
    #  Wait for next request from client
    message = socket.recv().decode()
    print("Received request: ", message)
    time.sleep (1)
    socket.send(b"World from server %d" % server_id)
