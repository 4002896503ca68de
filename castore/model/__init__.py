"""The values castore is made of: ids, encoding, the kinds, names, limits. Pure: no I/O."""
