"""GETQUOTA and GETQUOTAROOT (RFC 9208): one root for each account, which limits what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.store.accounts import require_account
from appliance.store.sharing import is_foreign
from plugins.imap4.protocol_command import GetQuota, OnMailbox
from plugins.imap4.protocol_respond import CRLF, mailbox, string
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from plugins.imap4.session import ImapSession

ROOT = b""  # the account; it has no other


async def get_quota(session: ImapSession, command: GetQuota) -> str:
    """GETQUOTA (section 4.1.1)."""
    if command.root != ROOT:
        raise RefusalError("There is no such quota root", "NONEXISTENT")
    session.connection.write(await _quota_line(session))
    return "GETQUOTA completed"


async def get_quota_root(session: ImapSession, command: OnMailbox) -> str:
    """GETQUOTAROOT (section 4.1.2). A mailbox that is not there has the root that it would have."""
    name = mailbox(command.mailbox, utf8=session.enabled.utf8)
    if is_foreign(command.mailbox):
        # How much others store is not told; what goes there counts as theirs, and may be refused by their limit.
        session.connection.write(b"* QUOTAROOT %b" % name + CRLF)
        return "GETQUOTAROOT completed"
    session.connection.write(b"* QUOTAROOT %b %b" % (name, string(ROOT)) + CRLF + await _quota_line(session))
    return "GETQUOTAROOT completed"


async def _quota_line(session: ImapSession) -> bytes:
    """Usage and limit in units of 1,024 octets (section 5.1); no resource without a limit."""
    account = await session.core.store.read(lambda db: require_account(db, session.account.name))
    limits = b""
    if account.quota_bytes:
        limits = b"STORAGE %d %d" % (-(-account.used_bytes // 1024), account.quota_bytes // 1024)
    return b"* QUOTA %b (%b)" % (string(ROOT), limits) + CRLF
