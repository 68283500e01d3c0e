"""Macros: what filters may know about a connection and a message, by Sendmail's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from appliance.mail.address import Address
from appliance.mail.received import protocol_name
from appliance.mail.session import Session
from plugins.milter.protocol import Options, Stage

# What a filter gets that does not choose, as with Postfix's defaults.
_DEFAULTS: Mapping[Stage, Sequence[str]] = {
    Stage.CONNECT: ("j", "{daemon_name}", "{daemon_addr}", "{daemon_port}", "{if_addr}", "v", "_"),
    Stage.HELO: ("{tls_version}", "{cipher}", "{cipher_bits}"),
    Stage.MAIL: (
        *("i", "{auth_type}", "{auth_authen}", "{auth_author}", "{client_addr}", "{client_name}", "{client_port}"),
        *("{client_ptr}", "{client_resolve}", "{mail_addr}", "{mail_host}", "{mail_mailer}", "r", "s"),
    ),
    Stage.RCPT: ("i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
    Stage.DATA: ("i",),
    Stage.END_OF_HEADER: ("i",),
    Stage.END_OF_MESSAGE: ("i",),
}
# A version before the sixth knows of no macros at these.
_OLD = {Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT}


def chosen(stage: Stage, options: Options, known: Mapping[str, str]) -> dict[str, str]:
    """The macros of one stage that have a value: those that the filter chose, or the usual ones."""
    names = options.macros.get(stage)
    if names is None:
        names = tuple(_DEFAULTS[stage]) if options.version >= 6 or stage in _OLD else ()
    return {name: known[name] for name in (_full(name) for name in names) if known.get(name)}


def _full(name: str) -> str:
    """`{i}` and `i` are one macro; a longer name always has its braces."""
    bare = name.strip("{}")
    return bare if len(bare) == 1 else f"{{{bare}}}"


def of_session(session: Session, *, hostname: str, peer_name: str, product: str) -> dict[str, str]:
    """What is known about a connection. `peer_name` is the name that its address and back again lead to, or empty."""
    tag = f"[{session.peer_ip or 'local'}]"
    known = {
        "j": hostname,
        "v": product,
        "_": f"{peer_name} {tag}".strip(),
        "{daemon_name}": session.role,
        "{daemon_addr}": session.local_ip,
        "{daemon_port}": str(session.local_port),
        "{if_addr}": session.local_ip,
        "{client_addr}": session.peer_ip,
        "{client_name}": peer_name or tag,
        "{client_ptr}": peer_name or tag,
        "{client_resolve}": "OK" if peer_name else "FAIL",
        "{client_port}": str(session.peer_port),
        "s": session.helo,
    }
    if session.esmtp or session.role == "lmtp":
        known["r"] = protocol_name(
            esmtp=session.esmtp,
            tls=session.tls is not None,
            authenticated=session.account is not None,
            smtputf8=False,
            lmtp=session.role == "lmtp",
        )
    else:
        known["r"] = "SMTP"
    if session.tls is not None:
        known["{tls_version}"] = session.tls.version
        known["{cipher}"] = session.tls.cipher
        known["{cipher_bits}"] = str(session.tls.bits)
    if session.account is not None:
        known["{auth_type}"] = session.mechanism
        known["{auth_authen}"] = session.login
        known["{auth_author}"] = session.account
    return known


def of_address(kind: str, address: Address | None, mailer: str) -> dict[str, str]:
    """`kind` is mail or rcpt, `mailer` how it goes on: "smtp" or "local"."""
    return {
        f"{{{kind}_addr}}": str(address) if address else "",
        f"{{{kind}_host}}": address.domain if address else "",
        f"{{{kind}_mailer}}": mailer,
    }
