"""Bytes that must never change: vectors of every released format."""
