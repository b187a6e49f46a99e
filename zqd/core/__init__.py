"""The pure core: decides everything, does no I/O and knows no clock (read `queue` first)."""
