"""The list as a whole: formats, and what holds for any bytes."""

import codecs
import gzip
from itertools import pairwise

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from orchestrator.manifest.formats import (
    Format,
    GoodLines,
    ManifestLine,
    ManifestUnreadableError,
    advice_for,
    format_of,
    read_manifest,
    read_manifest_blocks,
)
from orchestrator.model import CampaignRef


def lines_of(content: bytes, fmt: Format, *, vdn: int | None = 7) -> list[ManifestLine]:
    return list(read_manifest([content], fmt, default_vdn=vdn))


@pytest.mark.parametrize(
    ("name", "fmt"),
    [
        ("a.csv", Format.CSV),
        ("A.CSV", Format.CSV),
        ("a.tsv", Format.CSV),
        ("a.txt", Format.CSV),
        ("/x/a.json", Format.JSON),
        ("a.b.jsonl", Format.JSONL),
        ("a.ndjson", Format.JSONL),
        ("a.csv.gz", None),
        ("a.xlsx", None),
        ("csv", None),
        ("-", None),
        ("", None),
    ],
)
def test_the_suffix_tells_the_format(name: str, fmt: Format | None) -> None:
    """Upper or lower case; nothing is guessed from the content."""
    assert format_of(name) is fmt


@pytest.mark.parametrize(
    ("content", "fmt"),
    [(b"campaign_id\n5\n6\n", Format.CSV), (b"[5,6]", Format.JSON), (b"5\n6\n", Format.JSONL)],
)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_each_format_is_read(content: bytes, fmt: Format, mark: bytes) -> None:
    """The same two campaigns, with and without a byte order mark [I01, I24]."""
    refs = [line.ref for line in lines_of(mark + content, fmt)]

    assert refs == [CampaignRef(7, 5), CampaignRef(7, 6)]


@pytest.mark.parametrize(
    ("content", "fmt"),
    [
        (b"", Format.CSV),
        (codecs.BOM_UTF8, Format.CSV),
        (b"campaign_id\n", Format.CSV),
        (b"\n\n", Format.CSV),
        (b"[]", Format.JSON),
        (b'{"campaigns":[]}', Format.JSON),
        (b"", Format.JSONL),
        (b"\n", Format.JSONL),
    ],
)
def test_a_list_without_entries_is_refused(content: bytes, fmt: Format) -> None:
    """An empty export is a mistake somewhere, not a success [I27]."""
    with pytest.raises(ManifestUnreadableError, match="there are no campaigns in this list"):
        lines_of(content, fmt)


def test_a_list_without_one_good_line_has_no_campaign() -> None:
    """Every line is yielded with its problem, none with a campaign [I28]."""
    lines = lines_of(b"campaign_id\nx\n\n007\n1e3\n", Format.CSV)

    assert [(line.line, line.ref, bool(line.problem)) for line in lines] == [
        (2, None, True),
        (4, None, True),
        (5, None, True),
    ]


@pytest.mark.parametrize("fmt", Format)
@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"5", mtime=0), "\ufeff5".encode("utf-16"), b"PK\x03\x04", b"5\x00", b"\xff"],
)
def test_what_is_no_text_is_refused_in_every_format(content: bytes, fmt: Format) -> None:
    """By its first bytes, or by the first byte that is wrong [I02, I03, I21, I33]."""
    with pytest.raises(ManifestUnreadableError):
        lines_of(content, fmt)


def test_runs_of_good_lines_come_in_one_piece() -> None:
    """CSV only; `read_manifest` gives the same entries one by one [I26]."""
    blocks = list(read_manifest_blocks([b"5\n6\nx\n"], Format.CSV, default_vdn=7))

    assert blocks[0] == GoodLines(1, vdn_written=False, vdn_ids=[7, 7], campaign_ids=[5, 6])
    assert [line.campaign_text for line in lines_of(b"5\n6\nx\n", Format.CSV)] == ["5", "6", "x"]
    assert lines_of(b"5\n6\nx\n", Format.CSV)[2:] == blocks[1:]


#: pieces that lists are made of, so that chance comes near to them
PIECES = [
    *(b"campaign_id", b"vdn_id", b"campaignIds", b"campaigns", b"sep=;", b"#", b"5", b"7"),
    *(b",", b";", b"\t", b"\n", b"\r", b'"', b"[", b"]", b"{", b"}", b":", b" ", b"\\u", b"d800"),
    *(b'"campaignId":', b'"vdnId":', b'"campaignIds":[', b"1e5", b"-", b"null", b"\xc2\xa0"),
    *(b"\xef\xbb\xbf", b"\x00", b"\xff", "１".encode()),  # noqa: RUF001 - a full-width digit
]


@given(
    content=st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join) | st.binary(max_size=60),
    fmt=st.sampled_from(Format),
    vdn=st.none() | st.integers(1, 9999),
)
@example(content=b"[" + b"1" * 5000 + b"]", fmt=Format.JSON, vdn=7)
def test_any_bytes_are_read_or_refused(content: bytes, fmt: Format, vdn: int | None) -> None:
    """No other exception, and every id that is accepted stands in the list as digits [I21, I37]."""
    try:
        lines = lines_of(content, fmt, vdn=vdn)
    except ManifestUnreadableError as error:
        event(error.reason)
        return
    assert lines
    for line in lines:
        assert (line.ref is None) == bool(line.problem)
        if line.ref:
            assert line.campaign_text == str(line.ref.campaign_id)
            assert str(line.ref.campaign_id).encode() in content
            assert 1 <= line.ref.vdn_id <= 9999
            assert line.vdn_text in {"", str(line.ref.vdn_id)}


@given(
    numbers=st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 200), max_size=5),
    fmt=st.sampled_from(Format),
)
def test_it_does_not_matter_where_the_bytes_are_cut(
    numbers: list[int], cuts: list[int], fmt: Format
) -> None:
    """One chunk or several: the same entries [I01, I13]."""
    text = str(numbers) if fmt is Format.JSON else "\r\n".join(map(str, numbers))
    content = codecs.BOM_UTF8 + text.encode()
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    chunks = [content[a:b] for a, b in pairwise(edges)]

    lines = list(read_manifest(chunks, fmt, default_vdn=7))

    assert [line.ref for line in lines] == [CampaignRef(7, number) for number in numbers]


OTHER_FORMATS = [
    (Format.JSON, '{"vdnId":1,"campaignId":2}\n{"vdnId":1,"campaignId":3}\n', Format.JSONL),
    (Format.JSON, "1\n2\n", Format.JSONL),
    (Format.JSON, "campaign_id\n1\n", Format.CSV),
    (Format.JSON, "vdn;campaign id\n1;2\n", Format.CSV),
    (Format.JSON, "1;2\n", Format.CSV),
    (Format.JSONL, "campaign_id,vdn_id\n1,2\n", Format.CSV),
    (Format.JSONL, "[1, 2]", Format.JSON),
    (Format.JSONL, "[\n1,\n2\n]\n", Format.JSON),
    (Format.JSONL, '{"vdnId": 1,\n"campaignId": 2}\n', Format.JSON),
    (Format.CSV, "[1,2]\n", Format.JSON),
    (Format.CSV, '\n{"campaigns": [\n1]}\n', Format.JSON),
    (Format.CSV, '{"vdnId":1,"campaignId":2}\n{"vdnId":1,"campaignId":3}\n', Format.JSONL),
]


@pytest.mark.parametrize(("given", "text", "is_written_as"), OTHER_FORMATS)
def test_a_list_in_another_format_is_told_which(
    given: Format, text: str, is_written_as: Format
) -> None:
    """NDJSON named .json, a CSV piped in as JSON: the format is named, and the flag for it."""
    with pytest.raises(ManifestUnreadableError) as caught:
        list(read_manifest([text.encode()], given, default_vdn=1))

    assert f"--format {is_written_as}" in caught.value.advice


@pytest.mark.parametrize(
    "text", ["101;\n102;\n", "101,\n102,\n", "101\t\n102\t\n", "101 ;;\n102;\n"]
)
def test_a_delimiter_after_each_id_is_no_second_column(text: str) -> None:
    """Some programs end every line with one; a semicolon is as good as a comma."""
    lines = list(read_manifest([text.encode()], Format.CSV, default_vdn=1))

    assert [line.ref for line in lines] == [CampaignRef(1, 101), CampaignRef(1, 102)]


@pytest.mark.parametrize(("text", "is_noted"), [
    ("1,234\n2,345\n", True), ("1,2345\n", False), ("1;234\n", False), ("1234,234\n", False),
    ("vdn,campaign_id\n1,234\n", False),
])  # fmt: skip
def test_two_columns_that_look_like_one_number_are_said(text: str, *, is_noted: bool) -> None:
    """`1,234` without a header is VDN 1, campaign 234: read so, and said."""
    notes: list[str] = []

    list(read_manifest_blocks([text.encode()], Format.CSV, default_vdn=None, note=notes.append))

    assert bool(notes) is is_noted
    assert not is_noted or "1,234 is read as VDN 1, campaign 234" in notes[0]


@pytest.mark.parametrize(("name", "words"), [
    ("list.csv.gz", "unpack"), ("list.tar", "unpack"), ("List.XLSX", "save it as CSV"),
    ("list", "--format"), ("list.dat", "--format"),
])  # fmt: skip
def test_advice_for_an_unknown_format_can_be_followed(name: str, words: str) -> None:
    """`--format csv` for a compressed file would only lead to the next refusal."""
    assert words in advice_for(name)
