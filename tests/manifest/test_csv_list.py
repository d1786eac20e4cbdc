"""CSV lists: delimiters, headers, quotes, ragged rows, comments."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.manifest.csv_list import MAX_RECORD_LINES, read_csv
from orchestrator.manifest.entry import LineReader, ManifestLine, ManifestUnreadableError
from orchestrator.manifest.formats import numbered_lines

UNCLOSED = "a quote opens on this line and is not closed"


def lines_of(text: str, *, vdn: int | None = None) -> list[ManifestLine]:
    return list(read_csv(numbered_lines(io.StringIO(text, newline="")), LineReader(vdn)))


def ids(text: str, *, vdn: int | None = None) -> list[tuple[int, int, int]]:
    """Line, VDN and campaign of each entry, all of which must be good."""
    found = []
    for line in lines_of(text, vdn=vdn):
        assert line.ref is not None, line.problem
        assert line.place == str(line.line)
        found.append((line.line, line.ref.vdn_id, line.ref.campaign_id))
    return found


def problems(text: str, *, vdn: int | None = None) -> list[tuple[int, str]]:
    return [(line.line, line.problem) for line in lines_of(text, vdn=vdn) if not line.ref]


def refusal(text: str, *, vdn: int | None = None) -> tuple[str, str]:
    with pytest.raises(ManifestUnreadableError) as caught:
        lines_of(text, vdn=vdn)
    return caught.value.place, caught.value.reason


# ------------------------------------------------------------------ delimiters and headers


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_the_delimiter_is_found_by_the_header(delimiter: str, quote: str) -> None:
    """Comma, semicolon and tab, quoted or not; other columns may hold the others [I09]."""
    header = delimiter.join(f"{quote}{name}{quote}" for name in ("name", "campaign_id", "vdn_id"))
    row = delimiter.join(('"a,b;c\td"', "5", "7"))

    assert ids(f"{header}\n{row}\n") == [(2, 7, 5)]


@pytest.mark.parametrize(
    "header",
    ["vdn_id,campaign_id", "VDN,Campaign ID", "vdnId, campaignId", '"Vdn-Id","CAMPAIGNID"'],
)
def test_headers_are_matched_as_documented(header: str) -> None:
    """Case, spaces, underscore and hyphen do not count [I10]."""
    assert ids(f"{header}\n7,5\n") == [(2, 7, 5)]


def test_without_a_header_the_columns_say_what_they_are() -> None:
    """One column of ids with --vdn, VDN and id without [I10]."""
    assert ids("5\n6\n", vdn=7) == [(1, 7, 5), (2, 7, 6)]
    assert ids("7;5\n8;6\n") == [(1, 7, 5), (2, 8, 6)]


@pytest.mark.parametrize(
    ("text", "vdn", "reason"),
    [
        ("5\n", None, "the list has ids only: add --vdn, or a header with campaign_id and vdn_id"),
        (
            "7,5\n",
            7,
            "two columns without a header are VDN and id, so --vdn cannot be given as well",
        ),
        ("7,5,6\n", None, "3 columns without a header: add one that names campaign_id"),
        (
            "id,Kampagne\n5,6\n",
            7,
            "there is no campaign_id column; the columns found are: id, Kampagne",
        ),
        (
            "campaign_id,x\n5,x\n",
            None,
            "there is no vdn_id column, so --vdn is needed; the columns found are: campaign_id, x",
        ),
        ("../x\n", 7, "there is no campaign_id column; the columns found are: ../x"),
    ],
)
def test_a_list_whose_columns_are_unclear_is_refused(
    text: str, vdn: int | None, reason: str
) -> None:
    """Which column holds what is never guessed; the columns found are named [I10]."""
    assert refusal(text, vdn=vdn) == ("1", reason)


@pytest.mark.parametrize("first", ["1e3", "-5", "'5", "\u00a05", "0x10", "12.0", "..", "１"])  # noqa: RUF001
def test_a_bad_number_on_the_first_line_is_no_header(first: str) -> None:
    """It is an entry with a problem, and the next line is read [I15, I16, I18]."""
    lines = lines_of(f"{first}\n6\n", vdn=7)

    assert [line.ref is None for line in lines] == [True, False]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("campaign_id,vdn,campaignId", "there are two campaign_id columns"),
        ("campaign_id,campaign_id,vdn", "there are two campaign_id columns"),
        ("campaign_id,vdn,VDN ID", "there are two vdn_id columns"),
    ],
)
def test_two_columns_for_one_meaning_are_refused(header: str, reason: str) -> None:
    """Which of them is meant nobody can say [I11]."""
    place, words = refusal(f"{header}\n1,2,3\n")

    assert (place, words.split(";")[0]) == ("1", reason)


def test_a_refused_header_shows_no_controls_and_few_columns() -> None:
    """What a terminal would obey is escaped; of 100 columns 20 are named."""
    _, words = refusal("\x1b[2Jx," + "name," * 100 + "\n", vdn=7)

    assert words.endswith(r"found are: \x1b[2Jx" + ", name" * 19)


def test_an_empty_list_has_no_entries() -> None:
    """Nothing, blanks or a header alone [I27]."""
    for text in ("", "\n \t\r\n", "# only a comment\n", "campaign_id\n", "sep=;\n"):
        assert lines_of(text, vdn=7) == []


# ------------------------------------------------------------------ rows


@given(
    extra=st.lists(st.sampled_from(["", " ", "\t", ",", " , ,", "# 9", '""', "#,"]), max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.booleans(),
)
def test_blanks_comments_and_line_ends_change_nothing(
    extra: list[str], end: str, *, last: bool
) -> None:
    """Only the line numbers differ, and they are right [I04, I05, I38]."""
    text = end.join(["vdn_id,campaign_id", *extra, "7,5", *extra, " 7 ,\t6 ,, "]) + end * last

    assert ids(text) == [(len(extra) + 2, 7, 5), (2 * len(extra) + 3, 7, 6)]


def test_mixed_line_ends_are_counted_once() -> None:
    """CR LF is one end, CR and LF alone are ends too [I04]."""
    assert ids("vdn,campaign_id\r\n7,5\r7,6\n7,7") == [(2, 7, 5), (3, 7, 6), (4, 7, 7)]


def test_line_numbers_count_newlines_inside_quotes() -> None:
    """A record is placed where it starts, whatever other columns hold [I07]."""
    text = 'campaign_id,note\n5,"a\nb\r\n\n#c"\n6,"x"\n7,y\n'

    assert ids(text, vdn=1) == [(2, 1, 5), (6, 1, 6), (7, 1, 7)]


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ('campaign_id,note\n5,"a\n6,b\n7,c\n', "2", UNCLOSED),
        ('campaign_id,note\n5,x\n6,"', "3", UNCLOSED),
        (
            'campaign_id,note\n5,"a"b\n',
            "2",
            "there is text between a closing quote and the next delimiter",
        ),
        (
            'campaign_id,note\n5,"a\n6,"b"\n',
            "2",
            "there is text between a closing quote and the next delimiter",
        ),
        (
            '"campaign_id\n5\n',
            "1",
            "the quotes on the first line are not closed, or text follows them",
        ),
        ('campaign_id,note\n5,"' + "a\n" * (MAX_RECORD_LINES + 5) + '"\n', "2", UNCLOSED),
        (
            'campaign_id,note\n5,"' + ("a" * 1000 + "\n") * 200 + '"\n',
            "2",
            "a quote opens on this line and its cell is too long; is the quote left open?",
        ),
    ],
)
def test_an_unclosed_quote_is_refused(text: str, place: str, reason: str) -> None:
    """The rest of the list is never swallowed as one cell [I08, I25]."""
    assert refusal(text, vdn=7) == (place, reason)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("7", "the row has 1 cell where 3 belong, as in the first row"),
        ("7,5", "the row has 2 cells where 3 belong, as in the first row"),
        ("7,5,x,y", "the row has 4 cells where 3 belong, as in the first row"),
        ("7,5,x,,y,", "the row has 5 cells where 3 belong, as in the first row"),
        (",5,x", "'' is not a VDN: it is empty"),
        ("7,,x", "'' is not a campaign id: it is empty"),
    ],
)
def test_ragged_rows_are_problems(row: str, reason: str) -> None:
    """A shifted column could be read as an id, so its line is named [I12, I35]."""
    text = f"vdn_id,campaign_id,name\n7,6,\n{row}\n7,8,x\n"

    assert problems(text) == [(3, reason)]


def test_a_bad_line_keeps_what_was_written() -> None:
    """The report shows it; cells that are missing are empty."""
    lines = lines_of("name,vdn_id,campaign_id\nx,70000,5x\nx\nx,7\n")

    assert [(line.vdn_text, line.campaign_text) for line in lines] == [
        ("70000", "5x"),
        ("", ""),
        ("7", ""),
    ]


@pytest.mark.parametrize("cell", ["5\u00a0", "\u200b5", "5\ufeff", "5\x0b", "5\x1c", "\u30005"])
def test_invisible_characters_are_shown(cell: str) -> None:
    """Only plain spaces and tabs are taken away around an id [I06, I21]."""
    [(line, reason)] = problems(f"campaign_id\n {cell}\t\n", vdn=7)

    assert line == 2
    assert reason.startswith(f"{cell!a} is not a campaign id: ")


def test_a_column_that_differs_from_the_flag_is_a_problem() -> None:
    """--vdn 7 beside a column: rows that say 7 are good, others are not [I36]."""
    text = "vdn_id,campaign_id\n7,5\n8,6\n"

    assert problems(text, vdn=7) == [(3, "the VDN is 8 here, but --vdn is 7")]


# ------------------------------------------------------------------ comments and Excel


@pytest.mark.parametrize("sep", ["sep=;", "SEP=;\r", '"sep=;"'])
def test_excels_first_line_sets_the_delimiter(sep: str) -> None:
    """`sep=;` is obeyed on the first line, and is an entry on no other [I38, I09]."""
    assert ids(f"{sep}\ncampaign_id;a,b\n5;x\n", vdn=7)[0][1:] == (7, 5)
    assert problems("campaign_id\nsep=;\n", vdn=7)[0][0] == 2


def test_comments_may_hold_quotes() -> None:
    """A quote in a comment opens nothing, so no line after it is lost [I38, I08]."""
    assert ids('# a, "b\ncampaign_id\n# "\n5\n', vdn=7) == [(4, 7, 5)]


@pytest.mark.parametrize(
    "header", ["#,campaign_id", "# campaign_id;vdn_id", "#\tCampaign ID", '#vdn,"campaignId"']
)
def test_a_header_that_starts_like_a_comment_is_refused(header: str) -> None:
    """With `#,campaign_id` passed over, row numbers would be taken for VDNs [I38]."""
    place, reason = refusal(f"{header}\n1,5\n")

    assert place == "1"
    assert "starts with #" in reason


# ------------------------------------------------------------------ our own files


@given(
    st.lists(
        st.tuples(st.integers(1, 9999), st.integers(1, 2**63 - 1), st.text(max_size=20)), max_size=9
    ),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from([",", ";", "\t"]),
)
def test_what_the_csv_module_writes_is_read(
    rows: list[tuple[int, int, str]], quoting: int, delimiter: str
) -> None:
    """Any text in another column, any quoting: the same campaigns come back."""
    stored = io.StringIO(newline="")
    writer = csv.writer(stored, quoting=quoting, delimiter=delimiter)  # type: ignore[arg-type] # a constant of csv
    writer.writerow(["vdn_id", "note", "campaign_id"])
    writer.writerows((vdn, note, campaign) for vdn, campaign, note in rows)

    found = ids(stored.getvalue())

    assert [each[1:] for each in found] == [(vdn, campaign) for vdn, campaign, _ in rows]


def test_a_number_with_a_thousands_comma_is_read_as_two_columns_and_said() -> None:
    """`1,234` without a header is VDN 1, campaign 234; the reader notes it."""
    reader = LineReader(None)

    (line,) = read_csv(iter([(1, "1,234\n")]), reader)

    assert line.ref == (1, 234)
    assert "1,234 is read as VDN 1, campaign 234" in reader.note


def test_a_number_with_a_thousands_comma_beside_a_given_vdn_is_refused_with_its_cause() -> None:
    """`1,234` with --vdn is one number: the refusal says to write it without the comma."""
    with pytest.raises(ManifestUnreadableError) as refused:
        lines_of("1,234\n", vdn=7)

    assert "if this is one number, write it without the comma" in refused.value.reason


@pytest.mark.parametrize(("text", "run_id"), [
    ("campaign_id,run_id\n5,r1\n6, r1 \n", "r1"),
    ("Run ID;campaign_id;error\nr1;5;x\nr1;6;\n", "r1"),
    ("campaign_id,run_id\n5,r1\n6,r2\n", ""),
    ("campaign_id,run_id\n5,r1\n6,\n", ""),
    ("campaign_id,run_id\n5,r1\n6\n", ""),
    ("campaign_id,run_id,run_id\n5,r1,r1\n", None),
    ("campaign_id\n5\n", None),
    ("5\n6\n", None),
])  # fmt: skip
def test_the_run_that_every_row_names_is_known(text: str, run_id: str | None) -> None:
    """failed.csv of a run names it; two columns, or a row without it, say nothing."""
    reader = LineReader(7)

    lines = list(read_csv(numbered_lines(io.StringIO(text, newline="")), reader))

    assert lines
    assert reader.run_id == run_id
