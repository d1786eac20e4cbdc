"""Loads aiohttp without the two TLS contexts that it prepares for others.

They cost 2 x 32 ms of the 400 from the start of `pause` to its first PUT, and the client makes its
own. Should anything use those two, they trust nobody. This is only for
a process of our own, before any thread is started, since the environment is changed for a moment.
"""

from __future__ import annotations

import os
import ssl


def load_aiohttp() -> None:
    """Import aiohttp while OpenSSL finds no authorities; no effect if it is imported already."""
    paths = ssl.get_default_verify_paths()
    names = (paths.openssl_cafile_env, paths.openssl_capath_env)
    kept = {name: os.environ.get(name) for name in names}
    try:
        os.environ |= dict.fromkeys(names, os.devnull)
        import aiohttp  # noqa: F401, PLC0415 - what this is for
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
