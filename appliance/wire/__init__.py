"""Shared wire grammar without I/O: lines and literals, SASL, SMTP replies and data, IMAP structures."""
