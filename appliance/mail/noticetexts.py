"""What a notice about a message says to people, by language. A language is one NoticeTexts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from appliance.mail.language import Language

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeTexts:
    """All that is said in one language. `reasons` are by the last two numbers of a status code (RFC 3463)."""

    language: Language
    sender: str
    opening: str
    said: str
    subjects: Mapping[Action, str]
    explanations: Mapping[Action, str]
    reasons: Mapping[str, str]


ENGLISH = NoticeTexts(
    language="en",
    sender="Mail Delivery System",
    opening="This is the mail system at {hostname}.",
    said="{peer} said: {words}",
    subjects={
        "failed": "Your message could not be delivered",
        "delayed": "Your message is delayed",
        "delivered": "Your message was delivered",
        "relayed": "Your message was passed on",
        "expanded": "Your message was passed on to a list",
    },
    explanations={
        "failed": "Your message could not be delivered to the recipients below. No further attempt will be made.",
        "delayed": "Your message could not be delivered yet to the recipients below. You need not send it again: "
        "further attempts will be made.",
        "delivered": "Your message was delivered to the recipients below.",
        "relayed": "Your message was passed on for the recipients below to a system that sends no notice of delivery.",
        "expanded": "Your message was passed on to all members of the lists below.",
    },
    reasons={
        "1.1": "There is no such mailbox.",
        "1.2": "There is no such domain.",
        "1.3": "The address is not written correctly.",
        "1.6": "The mailbox has moved and left no new address.",
        "1.10": "The domain takes no mail.",
        "2.1": "The mailbox is closed.",
        "2.2": "The mailbox is full.",
        "2.3": "The message is larger than the mailbox takes.",
        "3.1": "The recipient's mail system is full.",
        "3.4": "The message is larger than the recipient's mail system takes.",
        "4.1": "The recipient's mail system does not answer.",
        "4.2": "The connection to the recipient's mail system broke.",
        "4.3": "The recipient's domain could not be looked up.",
        "4.4": "It could not be found out which system takes the recipient's mail.",
        "4.6": "The message was going round in circles.",
        "4.7": "The time for the delivery has run out.",
        "6.3": "The recipient's mail system does not take this kind of message, and it could not be converted.",
        "6.7": "The recipient's mail system takes no addresses with such characters.",
        "7.1": "The recipient's mail system refuses the message.",
        "7.4": "The recipient's mail system does not offer the protection (TLS) that is required.",
        "7.5": "The protection (TLS) that is required could not be had.",
        "7.30": "The recipient's mail system does not offer the protection (TLS) that the message requires.",
    },
)

SPANISH = NoticeTexts(
    language="es",
    sender="Sistema de correo",
    opening="Este es el sistema de correo de {hostname}.",
    said="{peer} respondió: {words}",
    subjects={
        "failed": "Su mensaje no se pudo entregar",
        "delayed": "La entrega de su mensaje se retrasa",
        "delivered": "Su mensaje se entregó",
        "relayed": "Su mensaje se pasó a otro sistema",
        "expanded": "Su mensaje se pasó a una lista",
    },
    explanations={
        "failed": "Su mensaje no se pudo entregar a los destinatarios siguientes. No se harán más intentos.",
        "delayed": "Su mensaje aún no se pudo entregar a los destinatarios siguientes. No hace falta que lo envíe otra "
        "vez: se harán más intentos.",
        "delivered": "Su mensaje se entregó a los destinatarios siguientes.",
        "relayed": "Su mensaje para los destinatarios siguientes se pasó a un sistema que no avisa de la entrega.",
        "expanded": "Su mensaje se pasó a todos los miembros de las listas siguientes.",
    },
    reasons={
        "1.1": "Ese buzón no existe.",
        "1.2": "Ese dominio no existe.",
        "1.3": "La dirección no está bien escrita.",
        "1.6": "El buzón se ha trasladado sin dejar otra dirección.",
        "1.10": "Ese dominio no recibe correo.",
        "2.1": "El buzón está cerrado.",
        "2.2": "El buzón está lleno.",
        "2.3": "El mensaje es más grande de lo que admite el buzón.",
        "3.1": "El sistema de correo del destinatario está lleno.",
        "3.4": "El mensaje es más grande de lo que admite el sistema de correo del destinatario.",
        "4.1": "El sistema de correo del destinatario no responde.",
        "4.2": "Se cortó la conexión con el sistema de correo del destinatario.",
        "4.3": "No se pudo consultar el dominio del destinatario.",
        "4.4": "No se pudo averiguar qué sistema recibe el correo del destinatario.",
        "4.6": "El mensaje daba vueltas sin llegar.",
        "4.7": "Se agotó el plazo para la entrega.",
        "6.3": "El sistema de correo del destinatario no admite mensajes de esta clase, y no se pudo convertir.",
        "6.7": "El sistema de correo del destinatario no admite direcciones con esos caracteres.",
        "7.1": "El sistema de correo del destinatario rechaza el mensaje.",
        "7.4": "El sistema de correo del destinatario no ofrece la protección (TLS) que se exige.",
        "7.5": "No se logró la protección (TLS) que se exige.",
        "7.30": "El sistema de correo del destinatario no ofrece la protección (TLS) que el mensaje exige.",
    },
)

NOTICE_TEXTS: Mapping[Language, NoticeTexts] = {"en": ENGLISH, "es": SPANISH}
