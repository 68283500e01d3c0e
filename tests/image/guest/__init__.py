"""The card's image, started in QEMU."""
