"""Real networks, data and optimisers, for either clock. Importing this imports no torch; its submodules do."""
