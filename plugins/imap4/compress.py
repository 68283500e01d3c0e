"""COMPRESS DEFLATE (RFC 4978)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plugins.imap4.protocol_command import Compress
from plugins.imap4.protocol_deflate import Deflater
from plugins.imap4.protocol_respond import tagged
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession


async def compress(session: ImapSession, command: Compress) -> str:
    """Compress all that follows the OK, which goes out as it is."""
    if session.machine.is_compressed:
        raise RefusalError("Compression is active already", "COMPRESSIONACTIVE")
    if command.mechanism != "DEFLATE":
        raise RefusalError("DEFLATE is the only mechanism", "CANNOT")
    session.machine.start_compression()
    session.connection.write(tagged(command.tag, "OK", "DEFLATE active"))
    session.connection.encode_output(Deflater().encode)
    return ""
