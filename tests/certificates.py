"""Certificates for servers and clients of the tests, signed by authorities of their own."""

import subprocess
from pathlib import Path

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def make_authority(folder: Path) -> Path:
    """A new authority: `ca.crt` and `ca.key` in a new folder."""
    folder.mkdir()
    subject = ["-subj", f"/CN={folder.name}", "-days", "2"]
    _openssl("req", "-x509", *_NEW_KEY, "-keyout", folder / "ca.key", "-out", folder / "ca.crt", *subject)
    return folder


def issue(authority: Path, place: Path, name: str) -> None:
    """A certificate for `name`: `place` with .crt and .key."""
    key, request, certificate = (place.with_suffix(suffix) for suffix in (".key", ".csr", ".crt"))
    _openssl("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
    signer: list[str | Path] = [
        "-CA",
        str(authority / "ca.crt"),
        "-CAkey",
        str(authority / "ca.key"),
        "-CAcreateserial",
        "-days",
        "2",
    ]
    _openssl("x509", "-req", "-in", request, "-out", certificate, *signer)
    key.chmod(0o600)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
