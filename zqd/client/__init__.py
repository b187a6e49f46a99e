"""`zqd.Client` and `zqd.AsyncClient`: requests from a Python program, each with its own answer.

    from zqd import Client, TimedOut

    with Client("tcp://127.0.0.1:5559") as client:
        print(client.request(b"Hello", timeout=2.0))

They talk to zqd, to a plain REP socket and through a libzmq proxy alike; only zqd knows their options and says why a
request failed. The parts: `session`, pure, decides which broker gets a request, when it gets another one, and whose
answer a message is; `carrier` holds the sockets, `keys` what they need for CURVE; `blocking` and `tasks` put threads and
asyncio around these.

Programs take the names from `zqd`, which loads no more than they ask for: only `AsyncClient` needs asyncio.

Layer 5, a program's library: of zqd it knows only the words on the wire (zqd(7), rules 14 and 25), and files of keys.
"""
