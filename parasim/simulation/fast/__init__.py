"""What gives the same result in fewer events: collectives whose messages have the links to themselves, as arrays.

`run: {fast_paths: none}` leaves all of it out. Each module says when it applies, and why it is exact.
"""
