"""Certificates for one test run: an authority, what it has signed, and an authority that nobody should trust."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import needs

SETTINGS = "[req]\ndistinguished_name = name\n[name]\n"  # nothing of the machine's own openssl.cnf
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files. `server` (for 127.0.0.1) and `client` hold key and certificate in one."""

    authority: Path
    server: Path
    client: Path
    stranger: Path  # an authority that has signed none of these


def make_certificates(folder: Path) -> Certificates:
    """Valid for two days, and also for verifiers that are strict about extensions (Python 3.13)."""
    needs("openssl")
    settings = folder / "openssl.cnf"
    settings.write_text(SETTINGS)

    def signed(name: str, signer: str, *extensions: str) -> Path:
        key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
        by = [] if signer == name else ["-CA", str(folder / f"{signer}.pem"), "-CAkey", str(folder / f"{signer}.key")]
        more = [option for extension in extensions for option in ("-addext", extension)]
        command = ["openssl", "req", "-x509", "-config", str(settings), *by, *KEY, "-days", "2", "-subj", f"/CN={name}"]
        subprocess.run([*command, *more, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        return certificate

    def identity(name: str, *extensions: str) -> Path:
        certificate = signed(name, "authority", "basicConstraints=critical,CA:FALSE", *extensions)
        both = folder / f"{name}-with-key.pem"
        both.write_text(certificate.with_suffix(".key").read_text() + certificate.read_text())
        return both

    root = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
    return Certificates(
        authority=signed("authority", "authority", *root),
        server=identity("server", "subjectAltName=IP:127.0.0.1"),
        client=identity("client"),
        stranger=signed("stranger", "stranger", *root),
    )
