"""What came back from one request: faults, and whether the server may have acted."""

from __future__ import annotations

import pytest

from orchestrator.isales.answer import BEFORE_SENDING, TLS_FAULTS, Answer, Fault, certificate_fault

#: written by hand, not derived: the faults after which the server may have acted
MAY_HAVE_ACTED = {
    Fault.RESET,
    Fault.TIMEOUT,
    Fault.TRUNCATED,
    Fault.BAD_RESPONSE,
    Fault.TOO_LARGE,
}


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_is_either_before_sending_or_in_doubt(fault: Fault) -> None:
    """A fault that nobody has placed would be taken for harmless or for an effect."""
    assert Answer(fault=fault).sent is (fault in MAY_HAVE_ACTED)
    assert (fault in BEFORE_SENDING) is (fault not in MAY_HAVE_ACTED)


def test_an_http_answer_was_sent() -> None:
    """Where there is a status, there was a request, and with no fault known it counts as sent."""
    assert Answer(http_status=200).sent
    assert Answer().sent


def test_certificate_trouble_is_before_sending() -> None:
    """No byte of a request goes out over a connection that is not trusted."""
    assert TLS_FAULTS < BEFORE_SENDING
    assert {fault.value[:4] for fault in TLS_FAULTS} == {"tls-"}


def test_what_openssl_has_against_a_certificate_is_told_by_its_number() -> None:
    """Expired, of another host; whatever has no number here is not trusted."""
    assert certificate_fault(10) is Fault.TLS_EXPIRED
    assert certificate_fault(62) is Fault.TLS_HOSTNAME
    assert certificate_fault(20) is Fault.TLS_UNTRUSTED
