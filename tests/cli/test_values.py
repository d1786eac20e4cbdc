"""What flags may say, beyond the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import values
from orchestrator.engine.options import FailureLimit
from orchestrator.errors import UsageError
from orchestrator.policy.decide import Outcome


def test_a_failure_limit_is_a_number_or_a_share() -> None:
    """`5` or `2.5%`."""
    assert values.failure_limit("--max-failures", "5") == FailureLimit(5)
    assert values.failure_limit("--max-failures", "2.5%") == FailureLimit(2.5, is_percent=True)


@pytest.mark.parametrize("text", ["0", "-1", "%", "0%", "100.1%", "1e3", "１", "nan%", ""])  # noqa: RUF001
def test_other_failure_limits_are_refused(text: str) -> None:
    """Zero, negative, beyond all, exponents, full-width digits, nothing."""
    with pytest.raises(UsageError, match="--max-failures"):
        values.failure_limit("--max-failures", text)


def test_seconds_may_be_zero_and_at_most_a_week() -> None:
    """0, a fraction, a week; one second more is refused."""
    found = [values.seconds("--hold", text) for text in ("0", "1.5", "604800")]

    assert found == [0.0, 1.5, 604_800.0]
    with pytest.raises(UsageError, match="--hold"):
        values.seconds("--hold", "604801")


def test_outcomes_that_may_be_accepted() -> None:
    """Those of campaigns; not those of lines, and not `unattempted`."""
    assert values.outcome("--accept", "not_found") is Outcome.NOT_FOUND
    with pytest.raises(UsageError, match="--accept"):
        values.outcome("--accept", "unattempted")


def campaigns(
    given: str, *, vdns: tuple[int, ...] = (), run_vdns: tuple[int, ...]
) -> frozenset[tuple[int, int]]:
    """What --except of a restore names."""
    return values.campaigns("--except", given, vdns=vdns, run_vdns=run_vdns)


def test_a_list_for_only_or_except_names_campaigns(tmp_path: Path) -> None:
    """Pairs of VDN and id; a list without VDNs is about the run's only one, or that of --vdn."""
    path = tmp_path / "guilty.csv"
    path.write_text("campaign_id\n11\n12\n", encoding="utf-8")

    expected = frozenset({(7, 11), (7, 12)})
    assert campaigns(str(path), run_vdns=(7,)) == expected
    assert campaigns(str(path), vdns=(7,), run_vdns=(7, 8)) == expected
    with pytest.raises(UsageError, match=r"--except: .*guilty\.csv"):
        campaigns(str(path), run_vdns=(7, 8))


def test_a_list_with_vdns_may_name_others_than_the_runs(tmp_path: Path) -> None:
    """What a list says of VDNs counts, with and without a header; --vdn may not contradict it."""
    for text in ("vdn_id,campaign_id\n7,11\n8,12\n", "7,11\n8,12\n"):
        path = tmp_path / "guilty.csv"
        path.write_text(text, encoding="utf-8")

        assert campaigns(str(path), run_vdns=(7,)) == frozenset({(7, 11), (8, 12)})
        with pytest.raises(UsageError):
            campaigns(str(path), vdns=(7,), run_vdns=(7,))


@pytest.mark.parametrize("text", ["1005,1017", "1005 1017", "1005, 1017,", "7/1005,1017"])
def test_campaigns_may_be_typed(text: str) -> None:
    """Ids of the run's only VDN, or with their VDN in front."""
    assert campaigns(text, run_vdns=(7,)) == frozenset({(7, 1005), (7, 1017)})


def test_typed_ids_of_several_vdns_need_theirs() -> None:
    """Nobody guesses which VDN is meant; the advice has the form."""
    assert campaigns("7/5 8/6", run_vdns=(7, 8)) == frozenset({(7, 5), (8, 6)})
    with pytest.raises(UsageError, match="VDN") as refusal:
        campaigns("5,6", run_vdns=(7, 8))
    assert "7/1005" in refusal.value.advice


@pytest.mark.parametrize("text", ["0", "7/", "/5", "7/8/9", "12345/5", "00012", "9" * 20])
def test_typed_ids_that_are_none_are_refused(text: str) -> None:
    """Each is named, and nothing is sent."""
    with pytest.raises(UsageError, match=r"Nothing was sent"):
        campaigns(text, run_vdns=(7,))


def test_a_file_that_is_called_like_ids_is_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`1005` is a file here: which of the two is meant has to be said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1005").write_text("campaign_id\n11\n", encoding="utf-8")

    with pytest.raises(UsageError, match="is a file here"):
        campaigns("1005", run_vdns=(7,))
    assert campaigns("./1005", run_vdns=(7,)) == frozenset({(7, 11)})


def test_a_bad_line_in_such_a_list_is_refused_with_its_place(tmp_path: Path) -> None:
    """Leaving out half of the guilty would be worse than stopping."""
    path = tmp_path / "guilty.csv"
    path.write_text("vdn_id,campaign_id\n7,11\n7,1e5\n", encoding="utf-8")

    with pytest.raises(UsageError, match=r"guilty\.csv:3: .*1e5"):
        values.campaigns("--only", str(path), vdns=(), run_vdns=(7,))


def test_how_such_a_list_is_written_is_told_by_its_name(tmp_path: Path) -> None:
    """Of a flag --format `restore` knows nothing."""
    path = tmp_path / "guilty.json"
    path.write_text('{"campaignIds": [5', encoding="utf-8")

    with pytest.raises(UsageError, match="breaks off") as refused:
        values.campaigns("--only", str(path), vdns=(), run_vdns=(7,))

    assert "--format" not in refused.value.advice
    assert ".jsonl" in refused.value.advice


@pytest.mark.parametrize("given", ["spring sale", "name", "1005,x"])
def test_a_selection_that_is_neither_ids_nor_a_file_is_said_to_be_neither(given: str) -> None:
    """A campaign's name, or a slip in an id."""
    with pytest.raises(UsageError, match="is neither campaign ids nor a file that is there") as no:
        values.campaigns("--except", given, vdns=(), run_vdns=(7,))

    assert str(no.value).startswith(f"--except: {given!r} is")
    assert "1005,1017" in no.value.advice
