"""Histories with lies that once found something: each is played again."""

from __future__ import annotations

import pytest

from tests.harness.simulation import play_lies

#: seed → what was wrong
FOUND = {
    53685: "a start that a killed restore may have sent was sent again after somebody stopped it",
    53988: "the same, with names that cannot be read",
    54770: "reads failed while 0200011 was looked into, and worked again before the run ended",
    56408: "a doubt stayed unknown, though its VDN could be read in the end",
    56819: "one campaign was left, and its patience of half an hour never ended",
    60779: "half a character in a name beside words in another encoding: its state was not read",
    90806: "killed amid a contradiction; the next process believed its first look, an older one",
    113340: "restarted, paused by a PUT in doubt: its 0200011 counted as an old listing for ever",
    133776: "shown started by one listing, cleared by the other one of the same look, an older one",
    144730: "a hold was stopped while its newest look failed, and exit 0 said quiet",
    154457: "the same, in the middle of its first listing",
    156804: "0200011, then started again: the listing that had shown it at rest was called old",
    168728: "a list: the filtered listing showed it started, an older unfiltered one cleared it",
    178534: "0200011 outweighed the last look, though passes had shown it at rest in between",
    204440: "0200011 outweighed by listings that had shown it at rest: a PUT at each look",
    212295: "a hold was stopped after the first listing of a look had shown starts: exit 0, quiet",
    211751: "a restore: the page that asked whether reads work had shown starts without effect",
    212636: "a doubt that two looks left open was not read again when the run ended later",
    408959: "started again 0.2 s after each pause, in two groups by turns: 35 requests a second",
    309814: "0200011 after a PUT in doubt called the listing old, and no later look counted",
    60329: "accepted without effect, shown by the one page that came later: `paused`",
}


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_seed_found_is_not_found_again(seed: int) -> None:
    """Nothing false, nothing needlessly given up, nothing sent twice."""
    assert play_lies(seed).findings == []
