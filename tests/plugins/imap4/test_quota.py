"""QUOTA: what an account may store and has stored, in units of 1,024 octets."""

from __future__ import annotations

from appliance.store.accounts import set_quota
from tests.plugins.imap4.office import ANA, Office

LETTER = b"Subject: x\r\n\r\n" + b"y" * 1500 + b"\r\n"


async def test_an_account_without_a_limit_has_a_root_without_resources(here: Office) -> None:
    client = await here.login()
    assert await client.ok('GETQUOTA ""') == [b'* QUOTA "" ()']


async def test_usage_and_limit_are_told(here: Office) -> None:
    await here.store.write(lambda db: set_quota(db, ANA, 10 * 1024))
    await here.put(LETTER, LETTER)
    client = await here.login("INBOX")
    assert await client.ok("GETQUOTAROOT INBOX") == [b'* QUOTAROOT INBOX ""', b'* QUOTA "" (STORAGE 3 10)']
    assert (await client.completion("GETQUOTA other")).startswith("NO [NONEXISTENT]")
    await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok("STATUS INBOX (DELETED DELETED-STORAGE)") == [
        b"* STATUS INBOX (DELETED 1 DELETED-STORAGE 2)"
    ]
