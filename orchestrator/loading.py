"""Loading aiohttp without what it prepares for others.

As its modules load, aiohttp builds two TLS contexts and reads the system's authorities for each:
2 x 32 ms of the 400 ms from the start of `pause` to its first PUT. The client never uses them: it
makes its own (isales_client), with the authorities that the settings name, when it begins.

Rule 1: should anything use those two after all, they trust nobody.
Rule 2: only for a process that is ours alone: a program that imports the library shares aiohttp.
Rule 3: before any thread is started, since the environment is changed for a moment.
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
