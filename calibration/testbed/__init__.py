"""A cluster's network on one Linux machine: network namespaces as hosts and routers, shaped veth pairs as cables."""
