"""Makes one more set of a chain for mail that we forward (RFC 8617 section 5.1)."""

from __future__ import annotations

import base64

from appliance.mail.message import Message
from plugins.spam.arc.chain import Chain
from plugins.spam.arc.protocol_sets import MAX_SETS, read_sets, seal_input
from plugins.spam.dkim.protocol_canonical import relaxed_field, select
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dkim.signing import SigningKey, signature_field, signed_names

FAILED = "fail"


def seal(
    message: Message, key: SigningKey, body_hash: bytes, *, chain: Chain, results: str, authserv_id: str, now: float
) -> Message | None:
    """The message with another set in front, or None where a chain must not be continued.

    `body_hash` is that of the relaxed text, `results` what follows the authserv-id in Authentication-Results, and
    `chain` what `validate` says of the message as it is. `now` is epoch seconds.
    """
    instance = chain.count + 1
    if instance > MAX_SETS or (chain.result == FAILED and (chain.temporary or _already_failed(message))):
        return None
    state = "none" if instance == 1 and chain.result == "none" else chain.result
    if chain.result == FAILED and not chain.count:
        return None  # a structure that is broken: its instances cannot even be counted
    authentication = f"ARC-Authentication-Results: i={instance}; {authserv_id};\r\n {results}\r\n".encode()
    names = signed_names(message)
    tags = [
        ("i", str(instance)), ("a", key.algorithm), ("c", "relaxed/relaxed"), ("d", key.domain), ("s", key.selector),
        ("t", str(int(now))), ("h", ":".join(names)), ("bh", base64.b64encode(body_hash).decode()),
    ]  # fmt: skip
    signed = [relaxed_field(raw) for raw in select(message.header, message.fields(), names)]
    signature = signature_field("ARC-Message-Signature", tags, key, signed)
    before = [relaxed_field(authentication), relaxed_field(signature)]
    if chain.count and chain.result != FAILED:  # a failed chain's seal signs its own set alone (section 5.1.2)
        before.insert(0, seal_input(message.header, read_sets(message.fields()), last_whole=True))
    seal_tags = [
        ("i", str(instance)), ("a", key.algorithm), ("t", str(int(now))), ("cv", state), ("d", key.domain),
        ("s", key.selector),
    ]  # fmt: skip
    return message.prepend(signature_field("ARC-Seal", seal_tags, key, before) + signature + authentication)


def _already_failed(message: Message) -> bool:
    """Whether the latest seal says so itself: nothing is added then (section 5.1, last step)."""
    try:
        sets = read_sets(message.fields())
    except TagError:
        return True
    return bool(sets) and sets[-1].sealed.state == FAILED
