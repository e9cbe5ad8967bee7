"""Where programs run: devices, hosts, directed links, routes and topologies. Knows no scheme and no runtime."""
