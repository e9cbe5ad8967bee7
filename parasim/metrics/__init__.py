"""What a trace means: every public figure, as pure functions of the fold of its rows."""
