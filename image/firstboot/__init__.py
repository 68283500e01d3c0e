"""From a freshly written card to an appliance: the command `palomar-boot`, run by systemd before mail and network.

It reads what the user wrote on the boot partition (`palomar.toml`, the Raspberry Pi Imager's `rpi-preseed.toml`,
`RESET`), makes this machine's identity, checks that the card is what it says, and answers in `PALOMAR-STATUS.txt`.
Second and later boots find nothing changed and write nothing. See docs/first-boot.md.
"""
