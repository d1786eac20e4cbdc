"""Why, in two words."""

from __future__ import annotations

import pytest

from orchestrator.policy.decide import Outcome
from orchestrator.reports.causes import main_reason


@pytest.mark.parametrize(
    ("code", "http_status", "error", "reason"),
    [
        ("0200006", 200, "database operation error (0200006)", "database"),
        ("0200011", 200, "", "its status does not allow it"),
        ("02000007", 200, "", "parameters"),
        ("0299999", 200, "", "unknown code"),
        ("", 429, "", "too busy"),
        ("", 503, "HTTP 503: too busy", "too busy"),
        ("", 502, "", "server error"),
        ("", 200, "HTTP 200 without a result code", "unreadable answer"),
        ("", 302, "", "not the CC-iSales interface"),
        ("", 403, "", "no permission"),
        ("", None, "connection refused by 10.0.0.1:443", "connection refused"),
        ("", None, "connect-timeout", "no answer"),
        ("", None, "TLS certificate has expired", "certificate"),
        ("", None, "no route to host", "unreachable"),
        ("", None, "", ""),
    ],
)
def test_a_failure_has_a_reason(
    code: str, http_status: int | None, error: str, reason: str
) -> None:
    """The code says most, then the HTTP status, then our own words."""
    assert main_reason(Outcome.FAILED, code=code, http_status=http_status, error=error) == reason


def test_not_found_says_it_already() -> None:
    """`31 not found` needs no brackets."""
    assert main_reason(Outcome.NOT_FOUND, code="0200007", http_status=200, error="x") == ""
