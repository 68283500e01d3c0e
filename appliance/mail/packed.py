"""Small files that others have packed: unpacked up to a limit, since a few octets can become gigabytes."""

from __future__ import annotations

import io
import zipfile
import zlib

from appliance.errors import ApplianceError

_GZIP = 31  # zlib's word for: gzip alone
_METHODS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))


class PackedError(ApplianceError):
    """The file cannot be unpacked, or has more octets than it may have. Fit to be shown."""


def gunzip(data: bytes, limit: int) -> bytes:
    """The octets of a gzip file (RFC 1952), at most `limit`. Raises PackedError."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise PackedError(f"it cannot be unpacked: {error}") from error
    if len(plain) > limit:
        raise PackedError(f"it unpacks to more than {limit} octets")
    if not unpacker.eof:
        raise PackedError("it is cut short")
    return plain


def unzip_one(data: bytes, limit: int) -> bytes:
    """The octets of the one file in a ZIP archive, at most `limit`, whatever its directory says. Raises PackedError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) != 1 or entries[0].flag_bits & 1 or entries[0].compress_type not in _METHODS:
                raise PackedError("it is no archive of one plain file")
            with archive.open(entries[0]) as file:
                plain = file.read(limit + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, RuntimeError) as error:
        raise PackedError(f"it cannot be unpacked: {error}") from error
    if len(plain) > limit:
        raise PackedError(f"it unpacks to more than {limit} octets")
    return plain
