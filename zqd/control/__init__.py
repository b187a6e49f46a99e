"""The control socket: how an operator asks a running zqd something, or tells it to do something.

`commands` is the one table of what can be asked, `inquiries` and `orders` are its rows, `server` the ROUTER socket that answers. `zqctl` is one client; any
REQ or DEALER socket can be another:

    request  [empty frame] {"zqctl": 1, "command": "workers", "args": {"queue": "default"}}
    reply    [empty frame] {"zqd": 1, "ok": true, "result": …}
    or       [empty frame] {"zqd": 1, "ok": false, "code": "bad-argument", "error": "a sentence"}

The codes are those of `answers.Code`. The number is the protocol's, raised only when an older peer would misunderstand;
what a side does not know in an object it ignores. Send one request and wait for its reply: a client that sends many
and reads none loses the replies past the first few.
"""

from zqd.control import inquiries as inquiries
from zqd.control import orders as orders
