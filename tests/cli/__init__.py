"""Tests of the command line: pure parts, every command in-process, and real processes."""
