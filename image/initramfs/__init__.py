"""What runs before the root is there: finds the slot, checks it, mounts it and the data partition."""
