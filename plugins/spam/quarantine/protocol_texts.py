"""What people read, by language. A language is one Texts."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.mail.language import Language


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of digests and of answers to their links. Fields in braces are filled in."""

    code: Language  # for programs that read aloud, too (RFC 3282)
    sender: str  # the name in From
    digest_subject: str  # {count}
    digest_one: str  # the subject for one message
    intro: str  # {account}
    explain: str  # {days}, {link_days}
    older: str  # {count}
    more: str  # {count}
    columns: tuple[str, str, str, str, str]  # date, from, subject, score, reason
    release: str  # on a link
    by_administrator: str  # where there is none
    no_subject: str
    no_sender: str
    mail_subject: str  # of the mail that a link prepares
    released_subject: str
    released: str  # {subject}, {sender}
    gone_subject: str
    gone: str


ENGLISH = Texts(
    code="en",
    sender="Quarantine",
    digest_subject="{count} messages are held for you",
    digest_one="One message is held for you",
    intro="Mail for {account} that looked like spam is held back. New since the last such mail:",
    explain="To get a message, follow its link and send the mail that opens, from this same account. A link works once,"
    " for {link_days} days. What nobody releases is removed after {days} days; you need not do anything.",
    older="Still held from before: {count}.",
    more="Not listed here: {count} more; ask your administrator.",
    columns=("Date", "From", "Subject", "Score", "Why it is held"),
    release="Release",
    by_administrator="ask your administrator",
    no_subject="(no subject)",
    no_sender="(no sender)",
    mail_subject="Release",
    released_subject="Released from quarantine",
    released='The message "{subject}" from {sender} is released and will be in your inbox in a moment.',
    gone_subject="Not released",
    gone="The link was used before, or it is too old, or the message is not held any more: then it may be in your inbox"
    " already.",
)

SPANISH = Texts(
    code="es",
    sender="Cuarentena",
    digest_subject="{count} mensajes retenidos para usted",
    digest_one="Un mensaje retenido para usted",
    intro="Se ha retenido correo para {account} que parecía no deseado. Nuevo desde el último aviso:",
    explain="Para recibir un mensaje, siga su enlace y envíe el correo que se abre, desde esta misma cuenta. Cada"
    " enlace sirve una sola vez, durante {link_days} días. Lo que nadie libere se elimina a los {days} días; no hace"
    " falta que haga nada.",
    older="Siguen retenidos de antes: {count}.",
    more="No aparecen aquí: {count} más; pregunte a su administrador.",
    columns=("Fecha", "De", "Asunto", "Puntos", "Por qué se retiene"),
    release="Liberar",
    by_administrator="pregunte a su administrador",
    no_subject="(sin asunto)",
    no_sender="(sin remitente)",
    mail_subject="Liberar",
    released_subject="Liberado de la cuarentena",
    released="El mensaje «{subject}» de {sender} se ha liberado y en un momento estará en su bandeja de entrada.",
    gone_subject="No liberado",
    gone="El enlace ya se usó, o es demasiado antiguo, o el mensaje ya no está retenido: quizá ya esté en su"
    " bandeja de entrada.",
)

TEXTS: dict[Language, Texts] = {texts.code: texts for texts in (ENGLISH, SPANISH)}
