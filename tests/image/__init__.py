"""The image: its products, its proofs, and boots in QEMU."""
