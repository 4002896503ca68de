"""Specs: strict YAML to values, the contract, and the checks of what a set holds."""
