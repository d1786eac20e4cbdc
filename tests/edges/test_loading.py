"""aiohttp is loaded without the system's authorities, and nobody else misses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trustme

if TYPE_CHECKING:
    from pathlib import Path

#: tells how many authorities aiohttp's own context knows, then a new one's, then the variables
_TELL = """
import json, os, ssl, sys
class Watch:
    def find_spec(self, name, path, target=None):
        if name == "aiohttp":
            seen.update(os.environ)
seen = {}
sys.meta_path.insert(0, Watch())
if sys.argv[1] == "quick":
    from orchestrator.edges.loading import load_aiohttp
    load_aiohttp()
from aiohttp import connector
known = [context.cert_store_stats()["x509_ca"] for context in
         (connector._SSL_CONTEXT_VERIFIED, ssl.create_default_context())]
names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
print(json.dumps([*known, *([of.get(name) for name in names] for of in (seen, os.environ))]))
"""


class Told(NamedTuple):
    """What a child that has loaded aiohttp says."""

    #: authorities that aiohttp's own context knows
    aiohttps: int
    #: authorities that a context knows which is made afterwards
    later: int
    #: SSL_CERT_FILE and SSL_CERT_DIR while aiohttp was loaded, and afterwards
    meanwhile: list[str | None]
    afterwards: list[str | None]


def _told(way: str, authorities: Path) -> Told:
    env = {**os.environ, "SSL_CERT_FILE": str(authorities)}
    env.pop("SSL_CERT_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", _TELL, way], env=env, check=True, capture_output=True, timeout=60
    )
    return Told(*json.loads(done.stdout))


@pytest.fixture
def authorities(tmp_path: Path) -> Path:
    """A file of one authority, which stands for the system's."""
    path = tmp_path / "system.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


def test_aiohttp_reads_no_authorities_that_nobody_uses(authorities: Path) -> None:
    """Its own context trusts nobody; loaded as usual it has read the system's."""
    assert _told("usual", authorities).aiohttps == 1
    assert _told("quick", authorities).aiohttps == 0


def test_the_system_s_authorities_are_there_again_afterwards(authorities: Path) -> None:
    """A context made later trusts what the environment named before; nothing there has changed."""
    quick = _told("quick", authorities)

    assert quick.later == 1
    assert quick.meanwhile == [os.devnull, os.devnull]
    assert quick.afterwards == [str(authorities), None]
