"""Pipeline orders as pure functions: which micro-batch goes which way next, for one stage."""
