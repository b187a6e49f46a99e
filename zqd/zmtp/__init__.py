"""ZMTP 3.0/3.1 and 2.0 without I/O: bytes in, messages out (RFC 23, RFC 37, RFC 15)."""
