"""The values of mail, without I/O: address, envelope, message, reply, finding, delivery."""
