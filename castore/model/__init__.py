"""The values castore is made of: ids, canonical encoding, the kinds, names, limits. Pure: no I/O."""
