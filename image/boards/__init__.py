"""The boards that one image file serves: a table of what differs, and what reads it."""
