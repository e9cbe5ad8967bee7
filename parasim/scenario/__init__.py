"""Scenario files: YAML to checked, frozen objects. Importing this imports neither pydantic nor the YAML reader."""

from parasim.scenario.load import from_document, load, load_all
from parasim.scenario.model import Scenario

__all__ = ["Scenario", "from_document", "load", "load_all"]
