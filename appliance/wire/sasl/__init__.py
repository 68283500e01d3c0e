"""SASL without I/O (RFC 4422): names and passwords, lines, and the machines of both sides.

A server machine (`server`, `scram_server`) is stepped with decoded messages and answers with an event; where it needs
something that is stored it says so with `CheckPassword` or `Lookup`, so the caller may await. A client machine
(`client`, `scram_client`) turns challenges into responses. Nonces, stamps and stored verifiers come in as arguments.
"""
