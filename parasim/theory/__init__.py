"""Closed forms of the literature, used as oracles: what a simulation must meet where things are simple enough."""
