"""A disk that loses power, for QEMU: see README.md beside this file."""
