"""Builds the SD-card image: cached steps from Debian packages and this repository to the products in `build/`."""
