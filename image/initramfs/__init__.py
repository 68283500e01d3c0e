"""What runs before the root: it finds the card, proves the root, and mounts what lasts."""
