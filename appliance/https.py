"""One HTTPS request with bounds: for policies, keys and reports. Redirects are not followed, nothing is kept open.

Names go by our own resolver, and the certificate must be good for the host that was asked for.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from appliance.errors import ApplianceError
from appliance.tlslink import TlsFailure, failure_of

if TYPE_CHECKING:
    from appliance.dns import Resolver

MAX_LINE = 8192  # octets of the status line or one header line
MAX_HEADERS = 100
MAX_ADDRESSES = 2  # of a host, tried one after the other


class HttpsError(ApplianceError):
    """There is no answer that could be used. `failure` says so where it is the host's certificate."""

    def __init__(self, text: str, *, failure: TlsFailure = "") -> None:
        super().__init__(text)
        self.failure: TlsFailure = failure


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: `body` makes it a POST. `limit`: octets of an answer's body at most; `timeout` in seconds."""

    host: str
    path: str
    port: int = 443
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    limit: int = 65536
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: header names are lower case; of equal ones the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The type in lower case, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


async def ask(request: Request, resolver: Resolver, context: ssl.SSLContext) -> Answer:
    """Send one request and read its answer, whatever its status. Raises HttpsError, DnsError."""
    try:
        async with asyncio.timeout(request.timeout):
            addresses = await resolver.addresses(request.host)
            if not addresses:
                raise HttpsError(f"{request.host} has no address")
            for address in addresses[: MAX_ADDRESSES - 1]:
                try:
                    return await _ask(request, address, context)
                except ConnectionError:
                    if len(addresses) == 1:
                        raise
            return await _ask(request, addresses[-1], context)
    except TimeoutError as error:
        raise HttpsError(f"{request.host}: no answer within {request.timeout:g} s") from error
    except ssl.SSLError as error:
        words = getattr(error, "verify_message", "") or error.reason or "TLS failed"
        raise HttpsError(f"{request.host}: {words}", failure=failure_of(error)) from error
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        words = getattr(error, "strerror", None) or "the answer broke off"
        raise HttpsError(f"{request.host}: {words}") from error


async def _ask(request: Request, address: str, context: ssl.SSLContext) -> Answer:
    reader, writer = await asyncio.open_connection(
        address, request.port, ssl=context, server_hostname=request.host, limit=MAX_LINE
    )
    try:
        writer.write(_head(request) + request.body)
        await writer.drain()
        status, headers = await _headers(reader, request.host)
        return Answer(status, headers, await _body(reader, headers, request))
    finally:
        writer.transport.abort()  # nothing of theirs is of interest any more


def _head(request: Request) -> bytes:
    port = "" if request.port == 443 else f":{request.port}"
    lines = {
        "Host": f"{request.host}{port}",
        "User-Agent": "Palomar",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **request.headers,
    }
    if request.body:
        lines["Content-Length"] = str(len(request.body))
    head = [f"{'POST' if request.body else 'GET'} {request.path} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in lines.items()]
    text = "\r\n".join(head)
    if text.count("\n") != len(head) - 1 or not text.isascii() or "\0" in text:
        raise HttpsError(f"{request.host}: the request cannot be written down")
    return text.encode() + b"\r\n\r\n"


async def _line(reader: asyncio.StreamReader, host: str) -> str:
    line = await reader.readline()  # raises ValueError past the limit
    if not line.endswith(b"\n"):
        raise HttpsError(f"{host}: the answer broke off")
    return line.decode("latin-1").rstrip("\r\n")


async def _headers(reader: asyncio.StreamReader, host: str) -> tuple[int, dict[str, str]]:
    try:
        version, _, rest = (await _line(reader, host)).partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise HttpsError(f"{host}: this is no HTTP")
        headers: dict[str, str] = {}
        for _ in range(MAX_HEADERS + 1):
            line = await _line(reader, host)
            if not line:
                return int(rest[:3]), headers
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
    except ValueError as error:
        raise HttpsError(f"{host}: a line of more than {MAX_LINE} octets") from error
    raise HttpsError(f"{host}: more than {MAX_HEADERS} header lines")


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str], request: Request) -> bytes:
    too_long = HttpsError(f"{request.host}: the answer has more than {request.limit} octets")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _chunks(reader, request, too_long)
    length = headers.get("content-length", "")
    if length:
        if not length.isascii() or not length.isdigit():
            raise HttpsError(f"{request.host}: Content-Length is {length!r:.40}")
        if len(length) > 12 or int(length) > request.limit:
            raise too_long
        return await reader.readexactly(int(length))
    body = b""
    while part := await reader.read(65536):
        body += part
        if len(body) > request.limit:
            raise too_long
    return body


async def _chunks(reader: asyncio.StreamReader, request: Request, too_long: HttpsError) -> bytes:
    body = b""
    for _ in range(request.limit + 1):  # every chunk but the last has an octet
        try:
            size = int((await _line(reader, request.host)).partition(";")[0].strip(), 16)
        except ValueError as error:
            raise HttpsError(f"{request.host}: a chunk without its size") from error
        if size == 0:
            return body
        if size < 0 or len(body) + size > request.limit:
            raise too_long
        body += await reader.readexactly(size)
        await _line(reader, request.host)
    raise too_long
