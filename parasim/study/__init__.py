"""What is done with scenarios: run them in virtual time, ask theory, compare, sweep, and (later) search."""
