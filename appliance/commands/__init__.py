"""The commands of `palomar`, one module per group. Each is imported only when it is used."""
