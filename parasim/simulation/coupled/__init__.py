"""Collectives simulated as a whole: gathered (coupling), planned (plan), led through the network (conductor)."""
