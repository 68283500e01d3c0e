"""One folder per role; each is loaded by name and meets the others through hooks and the store."""
