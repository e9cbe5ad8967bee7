"""What is done with scenarios: run them in virtual time, ask theory, and (later) compare, sweep and search."""
