"""A real SMTP server that keeps what it is sent."""

import email.policy
from collections.abc import Generator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from tests.servers.process import free_port


class Mailbox:
    """What has arrived so far; `refusal` is what the server says instead of taking a mail."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.receivers: list[list[str]] = []
        self.refusal: str | None = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 -- aiosmtpd's name
        if self.refusal is not None:
            return self.refusal
        found = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(found, EmailMessage)
        self.mails.append(found)
        self.receivers.append(envelope.rcpt_tos)
        return "250 OK"

    def subjects(self) -> list[str]:
        """Return what the mails are about, in the order of their arrival."""
        return [str(mail["Subject"]) for mail in self.mails]

    def parts(self, number: int = -1) -> dict[str, str]:
        """Return what a mail says, by the type of its parts."""
        return {
            part.get_content_type(): part.get_content() for part in self.mails[number].walk() if not part.is_multipart()
        }


@contextmanager
def receiving(mailbox: Mailbox, port: int | None = None) -> Generator[int]:
    """Serve a mailbox on loopback, and yield its port."""
    server = Controller(mailbox, hostname="127.0.0.1", port=port or free_port())
    server.start()
    try:
        yield server.port
    finally:
        server.stop()
