"""Scenario files: YAML to checked, frozen objects."""
