"""A cluster's network on one Linux machine: network namespaces as hosts and routers, shaped veth pairs as cables."""

from calibration.testbed.build import interface
from calibration.testbed.plan import address
from calibration.testbed.shaping import credit_of
from calibration.testbed.standing import standing_testbed
from calibration.testbed.testbed import Testbed, missing

__all__ = ["Testbed", "address", "credit_of", "interface", "missing", "standing_testbed"]
