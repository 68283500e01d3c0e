"""Greeting, capabilities, logins, and the small commands."""

import base64
from pathlib import Path

import pytest

from appliance.config import Bind
from plugins.imap4.config import Imap4Config
from tests.plugins.imap4.office import ANA, LUIS, Office, office

PLAIN = base64.b64encode(b"\0" + ANA.encode() + b"\0palomar").decode()


def capabilities(line: bytes) -> set[bytes]:
    return set(line.partition(b"CAPABILITY ")[2].partition(b"]")[0].split())


async def test_the_greeting_tells_what_can_be_done_before_login(here: Office) -> None:
    client = await here.connect()
    assert client.greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 ")
    offered = capabilities(client.greeting)
    assert b"LITERAL+" not in offered  # RFC 7888 section 5: never both
    assert {b"LITERAL-", b"SASL-IR", b"ID", b"ENABLE", b"AUTH=PLAIN", b"AUTH=SCRAM-SHA-256"} <= offered
    assert not offered & {b"LOGINDISABLED", b"UIDPLUS", b"STARTTLS"}  # a Unix socket needs no TLS
    assert capabilities((await client.ok("CAPABILITY"))[0]) == offered


async def test_login_tells_the_capabilities_after_it(here: Office) -> None:
    client = await here.connect()
    completion = await client.completion(f'LOGIN "{ANA}" {{7+}}\r\npalomar')
    assert completion.startswith("OK [CAPABILITY ")
    offered = capabilities(completion.encode())
    wanted = "NAMESPACE CHILDREN SPECIAL-USE LIST-EXTENDED LIST-STATUS UIDPLUS MOVE UNSELECT MULTIAPPEND IDLE"
    assert set(wanted.encode().split()) <= offered
    assert not any(name.startswith(b"AUTH=") for name in offered)
    assert offered & {b"LITERAL+", b"LITERAL-"} == {b"LITERAL+"}
    assert capabilities((await client.ok("CAPABILITY"))[0]) == offered


async def test_a_login_is_logged_once(here: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await here.login()
    assert [record.message for record in caplog.records if ANA in record.message] == [
        f"login of {ANA} by password; peer local"
    ]


@pytest.mark.parametrize("login", [f"{ANA} wrong", "nobody@palomar.test palomar", '"" ""'])
async def test_unknown_names_and_wrong_passwords_look_alike(here: Office, login: str) -> None:
    client = await here.connect()
    assert await client.completion(f"LOGIN {login}") == "NO [AUTHENTICATIONFAILED] Invalid login name or password"
    assert await client.completion("SELECT INBOX") == "BAD log in first"


async def test_too_many_failed_logins_end_the_connection(here: Office) -> None:
    client = await here.connect()
    for _ in range(2):
        await client.command(f"LOGIN {ANA} wrong")
    client.send(f"x LOGIN {ANA} wrong\r\n".encode())
    assert (await client.line()).startswith(b"x NO [AUTHENTICATIONFAILED]")
    assert await client.line() == b"* BYE Too many failed logins"
    assert await client.line() == b""


async def test_authenticate_with_and_without_initial_response(here: Office) -> None:
    client = await here.connect()
    assert (await client.completion(f"AUTHENTICATE PLAIN {PLAIN}")).startswith("OK [CAPABILITY ")
    client = await here.connect()
    client.send(b"x AUTHENTICATE PLAIN\r\n")
    assert (await client.line()).rstrip() == b"+"
    client.send(PLAIN.encode() + b"\r\n")
    assert (await client.line()).startswith(b"x OK [CAPABILITY ")
    assert (await client.ok("STATUS INBOX (MESSAGES)")) == [b"* STATUS INBOX (MESSAGES 0)"]


@pytest.mark.parametrize(
    ("line", "completion"),
    [
        (b"*", b"x BAD"),
        (b"%%%", b"x BAD"),
        (base64.b64encode(b"\0ana\0wrong"), b"x NO [AUTHENTICATIONFAILED]"),
    ],
)
async def test_an_exchange_that_fails(here: Office, line: bytes, completion: bytes) -> None:
    client = await here.connect()
    client.send(b"x AUTHENTICATE PLAIN\r\n")
    await client.line()
    client.send(line + b"\r\n")
    assert (await client.line()).startswith(completion)
    assert (await client.completion("AUTHENTICATE FROB")).startswith("NO [CANNOT]")
    await client.ok(f"LOGIN {ANA} palomar")


async def test_an_account_has_so_many_connections_and_no_more(tmp_path: Path) -> None:
    listen = (Bind.parse(f"unix:{tmp_path / 'imap.sock'}"),)
    async with office(tmp_path, Imap4Config(listen=listen, listen_tls=(), max_per_account=2)) as here:
        first = await here.login()
        await here.login()
        third = await here.connect()
        assert await third.completion(f"LOGIN {ANA} palomar") == "NO [LIMIT] Too many connections of this account"
        await third.ok(f"LOGIN {LUIS} palomar")
        await first.ok("LOGOUT")
        assert await first.line() == b""
        await here.login()


async def test_small_commands(here: Office) -> None:
    client = await here.login("INBOX")
    assert await client.ok("NOOP") == []
    assert await client.ok("CHECK") == []
    assert await client.ok("ENABLE X-NONE UIDPLUS") == [b"* ENABLED"]
    assert await client.ok("NAMESPACE") == [b'* NAMESPACE (("" "/")) NIL NIL']
    (line,) = await client.ok('ID ("name" "test")')
    assert line.startswith(b'* ID ("name" "Palomar"')
    untagged, completion = await client.command("LOGOUT")
    assert untagged == [b"* BYE Logging out"]
    assert completion == b"OK LOGOUT completed"
    assert await client.line() == b""


async def test_too_many_bad_commands_end_the_connection(here: Office) -> None:
    client = await here.connect()
    for _ in range(20):
        assert (await client.completion("FROB")) == "BAD unknown command"
    client.send(b"x FROB\r\n")
    assert await client.line() == b"x BAD unknown command"
    assert await client.line() == b"* BYE Too many bad commands"
    assert await client.line() == b""


async def test_a_literal_that_is_too_long_is_refused_before_it_comes(here: Office) -> None:
    client = await here.connect()
    assert await client.completion("LOGIN {100000}") == "BAD [TOOBIG] literal too long"
    client.send(b"x LOGIN {100000+}\r\n")
    assert await client.line() == b"* BYE [TOOBIG] Literal too long"
    assert await client.line() == b""


async def test_the_wire_is_pipelined(here: Office) -> None:
    client = await here.connect()
    client.send(f"a LOGIN {ANA} palomar\r\nb SELECT INBOX\r\nc NOOP\r\nd IDLE\r\nDONE\r\ne LOGOUT\r\n".encode())
    for tag in (b"a", b"b", b"c", b"d", b"e"):
        _, completion = await client.until(tag)
        assert completion.startswith(b"OK")
