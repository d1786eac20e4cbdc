"""Run every check; say each problem on a line; exit 1 if there is one."""

from __future__ import annotations

import sys

from tests.checks import forbidden, lock, minimum_versions, settings_docs

CHECKS = (lock, minimum_versions, forbidden, settings_docs)


def main() -> int:
    """Run them all."""
    problems = [problem for check in CHECKS for problem in check.problems()]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
