"""The service manager's side of a program: what it is told (`notify`), and the sockets that it passes (`passed`).

Layer 4, without libsystemd: two small protocols of environment variables, a datagram socket and descriptors. Started by
anything else, nothing here does anything. Called by: `daemon`, `worker`.
"""
