"""One module per family of formats: each reads an artifact within bounds and says what is wrong."""
