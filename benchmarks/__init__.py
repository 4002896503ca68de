"""Benchmarks: each promise about speed and size, measured beside the raw limit of the machine."""
