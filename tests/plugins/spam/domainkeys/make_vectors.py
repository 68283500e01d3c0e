"""Makes vectors.json by hand: messages signed by Mail::DKIM. python -m tests.plugins.spam.domainkeys.make_vectors"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

FOLDER = Path(__file__).parent
HEADER = (
    "Received: from x by y;\r\n\tThu, 1 Jan 2026 10:00:00 +0000\r\nFrom: Ana  <ana@office.test>\r\n"
    "X-Two: first\r\nSubject : Hello\r\n  there\r\nX-Two: second \r\nTo: luis@elsewhere.test\r\n"
)
BODIES = {
    "text": "How  are you? \r\n\r\nFine.\r\n",
    "empty lines": "\r\n\r\nHow are you?\r\n\r\n\r\n\r\n",
    "blank lines": "How are you?\r\n \t\r\n\t\r\n",
    "empty": "",
    "only empty lines": "\r\n\r\n",
    "8bit": "¿Qué tal?\r\n.\r\n",
}
HEADERS = {
    "all": (HEADER, ""),
    "some": (HEADER, "From:To:Subject"),
    "order": (HEADER, "to:from:x-two"),
    "twice": (HEADER, "X-Two:From:X-Two"),
    "absent": (HEADER, "From:Reply-To:Subject"),
    "sender": ("Sender: robot@mail.office.test\r\n" + HEADER, "Sender:From"),
}


def main() -> None:
    """Sign every header with one text, and every text with all fields."""
    key = generate_private_key(65537, 1024)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    cases = []
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        file.flush()
        wanted = [(name, *HEADERS[name], "text") for name in HEADERS] + [("all", HEADER, "", body) for body in BODIES]
        for form in ("simple", "nofws"):
            for name, header, signed, body in dict.fromkeys(wanted):
                message = f"{header}\r\n{BODIES[body]}".encode()
                done = subprocess.run(
                    ["perl", str(FOLDER / "sign.pl"), form, file.name, signed],
                    input=message, capture_output=True, check=True,
                )  # fmt: skip
                cases.append({"name": f"{form}, {name}, {body}", "message": (done.stdout + message).decode()})
    record = f"k=rsa; p={base64.b64encode(public).decode()}"
    (FOLDER / "vectors.json").write_text(
        json.dumps({"key": record, "cases": cases}, indent=1, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    main()
