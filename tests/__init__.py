"""Tests of castore: one folder per room, and tests of the whole beside them."""
