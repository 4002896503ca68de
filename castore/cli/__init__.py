"""The command line `cas`: it parses, calls the store, and prints; nothing else does."""

from castore.cli.quick import begin

begin()
