"""zqd: the ZeroMQ QUEUE device as a Linux service.

A broker between REQ clients and REP workers. The README's "How zqd fits together" is the map;
`zqd.core.queue` is the file to read first.
"""

__version__ = "0.1.0"
