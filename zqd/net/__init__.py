"""The shells: sockets, the loop that watches them, and what turns bytes into the core's facts and back."""
