"""The SD-card image: build, sign, verify, boot and update it."""
