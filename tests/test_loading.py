"""aiohttp is loaded without the system's authorities, and nobody else misses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import trustme

#: tells how many authorities a new context knows once aiohttp is loaded, and what the variables say
_TELL = """
import json, os, ssl
from orchestrator.loading import load_aiohttp
load_aiohttp()
known = ssl.create_default_context().cert_store_stats()["x509_ca"]
print(json.dumps([known, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")]))
"""


def test_the_system_s_authorities_are_there_again_afterwards(tmp_path: Path) -> None:
    """A context made later trusts what the environment named before; nothing there has changed."""
    authorities = tmp_path / "system.pem"
    trustme.CA().cert_pem.write_to_path(str(authorities))
    env = {**os.environ, "SSL_CERT_FILE": str(authorities)}
    env.pop("SSL_CERT_DIR", None)

    done = subprocess.run(
        [sys.executable, "-c", _TELL], env=env, check=True, capture_output=True, timeout=60
    )

    assert json.loads(done.stdout) == [1, str(authorities), None]
