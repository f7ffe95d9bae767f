"""A certificate authority for tests: real certificates, made with openssl, valid or not any more."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.servers.process import require


class Identity(NamedTuple):
    """A certificate and its key, in PEM files."""

    certificate: Path
    key: Path


class Authority:
    """An authority in a folder of its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._openssl = require("openssl", package="openssl")
        self._made = 0
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        made = ("-days", "2", "-keyout", self._key, "-out", self.certificate)
        self._run("req", "-x509", *_CURVE, "-subj", f"/CN={name}", *made)

    def issue(self, name: str = "localhost", *, expired: bool = False) -> Identity:
        """Make a certificate for localhost and 127.0.0.1; one that expired ended yesterday."""
        self._made += 1
        stem = self._folder / f"{name}-{self._made}"
        key, asked, made, extensions = (stem.with_suffix(suffix) for suffix in (".key", ".csr", ".pem", ".ext"))
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self._run("req", "-new", *_CURVE, "-subj", f"/CN={name}", "-keyout", key, "-out", asked)
        days = "-1" if expired else "2"
        self._run(
            "x509", "-req", "-in", asked, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", days, "-extfile", extensions, "-out", made,
        )  # fmt: skip
        return Identity(made, key)

    def _run(self, *words: str | Path) -> None:
        subprocess.run([self._openssl, *words], check=True, capture_output=True)


_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
