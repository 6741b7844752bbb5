"""A certificate authority of the test's own, and what it signs for a server on this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.servers.server import Missing

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
EXTENSIONS = """
subjectAltName = DNS:localhost, IP:127.0.0.1
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def make_certificates(folder: Path) -> None:
    """Write ``ca.pem``, ``cert.pem`` and ``key.pem``.

    Raises:
        Missing: when there is no openssl.
    """
    if shutil.which("openssl") is None:
        raise Missing("no openssl here: install openssl")
    (folder / "extensions").write_text(EXTENSIONS)
    signing = ("-addext", "keyUsage = critical, keyCertSign, cRLSign")
    _openssl(folder, "req", "-x509", *KEY, *signing, "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.pem")
    _openssl(folder, "req", *KEY, "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "request.pem")
    _openssl(
        folder, "x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-extfile", "extensions", "-out", "cert.pem",
    )  # fmt: skip


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
