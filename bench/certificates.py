"""A certificate for 127.0.0.1 and the authority that signed it, made new for each run.

Usage: python -m bench.certificates CA_FILE SERVER_FILE

This is a program of its own: the kernel counts a parent's memory into a child's peak
(bench/stage.py), and what makes certificates is large.
"""

from __future__ import annotations

import sys

import trustme


def main(ca_file: str, server_file: str) -> None:
    """Make and write them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_file)
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(server_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
