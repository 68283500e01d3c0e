"""What a submission server does for its own people: whose sender address is whose, and the header fields that must be.

RFC 6409. Mail from other servers is never changed like this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.errors import AddressError
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import NO_AUTHOR, Envelope, Recipient
from appliance.mail.received import date_field, message_id
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.routing import expand

if TYPE_CHECKING:
    from appliance.core import Core
    from appliance.mail.message import Message
    from appliance.mail.session import Session

NOT_YOURS = Reply(553, "5.7.1", "This sender address is not yours")


async def may_send_as(core: Core, account: str, sender: Address, rule: str) -> bool:
    """Whether a login of `account` may use a sender address, by the setting `sender_check`.

    An address is the account's own if mail to it would reach the account. Raises HookFailedError.
    """
    if rule == "any" or sender.key == account:
        return True
    if rule == "domain":
        return await core.dispatch.own_recipient(recipient=Recipient(sender)) == "local"
    return await _leads_to(core, account, sender)


async def believed_author(core: Core, session: Session, auth: str, rule: str) -> str:
    """Who is taken for the author that AUTH= names: an address, or `<>` for nobody (RFC 4954 section 5).

    Our own people are believed about addresses that are theirs; whoever has not logged in is not, as the section
    demands. Raises HookFailedError.
    """
    try:
        address = Address.parse(auth)
    except AddressError:
        return NO_AUTHOR  # "<>", or what is no address of ours in any case
    if session.account is not None and await may_send_as(core, session.account, address, rule):
        return str(address)
    return NO_AUTHOR


async def _leads_to(core: Core, account: str, sender: Address) -> bool:
    expansion = await expand(core.dispatch, Recipient(sender))
    if expansion is None:
        return False
    if account in expansion.passed:
        return True
    own, nobody = Route("local", account), Session(id="", role="local")
    for member in expansion.final:
        # Sub-addresses: what the MDA would file with this account is the account's.
        if await core.dispatch.route_recipient(session=nobody, envelope=Envelope(None), recipient=member) == own:
            return True
    return False


def missing_fields(message: Message, *, token: str, hostname: str, at: float) -> bytes:
    """The Date and Message-ID lines that a submitted message lacks (RFC 6409 sections 8.2 and 8.3)."""
    lines = b""
    if message.get(b"date") is None:
        lines += date_field(at)
    if message.get(b"message-id") is None:
        lines += message_id(token, hostname)
    return lines
