"""Whether what answers is the interface at all."""

from __future__ import annotations

import pytest

from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.verdict import Verdict, judge
from orchestrator.policy.first_contact import FOREIGN_TRIES_S, FirstContact

ACCEPTED = judge(Answer(http_status=200, body=b'{"resultCode": "0200000"}'))
FORBIDDEN = judge(Answer(http_status=403, body=b"blocked"))
PAGE = judge(Answer(http_status=404, body=b"<html>default backend</html>"))
WRONG_KEY = judge(Answer(http_status=401))
SILENT = judge(Answer(fault=Fault.CONNECT_REFUSED))
UNTRUSTED = judge(Answer(fault=Fault.TLS_UNTRUSTED))
BUSY = judge(Answer(http_status=429))


def contact(*, emergency: bool = False) -> FirstContact:
    """Somebody who begins."""
    return FirstContact(emergency=emergency, patience_s=30.0)


def test_one_accepted_request_proves_the_signature_and_the_interface() -> None:
    """From then on nothing foreign ends the run."""
    one = contact()

    assert one.note(ACCEPTED, key=1, now_s=0.0) is None
    assert one.is_proven
    assert one.is_itself
    assert [one.note(FORBIDDEN, key=key, now_s=1.0) for key in range(9)] == [None] * 9


@pytest.mark.parametrize("verdict", [WRONG_KEY, SILENT, UNTRUSTED])
def test_what_shows_no_signature_taken_proves_nothing(verdict: Verdict) -> None:
    """A 401, silence, a certificate that is not trusted."""
    one = contact()

    assert one.note(verdict, key=1, now_s=0.0) is None
    assert not one.is_proven


def test_too_busy_takes_a_signature_and_is_not_the_api_itself() -> None:
    """A gateway says 429 as well."""
    one = contact()
    one.note(BUSY, key=1, now_s=0.0)

    assert one.is_proven
    assert not one.is_itself


@pytest.mark.parametrize(("verdict", "is_refusal"), [(FORBIDDEN, True), (PAGE, False)])
def test_a_list_ends_at_the_second_foreign_answer_to_another_request(
    verdict: Verdict, *, is_refusal: bool
) -> None:
    """The same request twice may be one odd page."""
    one = contact()
    first, again, other = (one.note(verdict, key=key, now_s=0.0) for key in (1, 1, 2))

    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.is_first, again.is_first) == (True, False)
    assert (first.is_over, again.is_over, other.is_over) == (False, False, True)
    assert other.is_refusal is is_refusal
    assert ("this is not the CC-iSales interface" in other.why) is not is_refusal
    assert one.is_foreign


def test_an_emergency_meets_it_once_a_second_for_ten_seconds() -> None:
    """A gateway that is just starting says the same."""
    one = contact(emergency=True)
    assert one.wait_s(0.0) == 0.0

    early = [one.note(PAGE, key=key, now_s=float(key)) for key in range(5)]
    late = one.note(PAGE, key=9, now_s=FOREIGN_TRIES_S)

    assert all(found is not None and not found.is_over for found in early)
    assert late is not None
    assert late.is_over
    assert one.wait_s(FOREIGN_TRIES_S + 0.25) == 0.75
    assert one.wait_s(FOREIGN_TRIES_S + 5.0) == 0.0


def test_a_server_that_never_answered_is_given_up_after_the_patience() -> None:
    """A list of three: the breaker would never open."""
    one = contact()

    assert not one.is_out_of_patience(SILENT, now_s=100.0)
    assert not one.is_out_of_patience(SILENT, now_s=129.0)
    assert one.is_out_of_patience(SILENT, now_s=130.0)


def test_one_answer_ends_the_silence() -> None:
    """From then on the breaker decides."""
    one = contact()
    one.is_out_of_patience(BUSY, now_s=0.0)

    assert one.has_answered
    assert not one.is_out_of_patience(SILENT, now_s=1e6)
