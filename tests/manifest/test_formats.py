"""The list as a whole: formats, and what holds for any bytes."""

import codecs
import gzip
import io
import zipfile
from collections.abc import Iterator
from itertools import count, islice, pairwise

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from orchestrator.manifest.formats import (
    MAX_LINE_CHARS,
    Format,
    ManifestLine,
    ManifestUnreadableError,
    advice_for,
    format_of,
    numbered_lines,
    read_manifest,
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


# ------------------------------------------------------------------ from bytes to text


def refusal(content: bytes) -> ManifestUnreadableError:
    """What is said of bytes that are no list, in one piece and byte by byte."""
    with pytest.raises(ManifestUnreadableError) as caught:
        lines_of(content, Format.CSV)
    with pytest.raises(ManifestUnreadableError) as byte_by_byte:
        list(read_manifest(map(bytes, zip(content, strict=True)), Format.CSV, default_vdn=7))
    assert str(caught.value) == str(byte_by_byte.value)
    return caught.value


def test_only_the_first_mark_is_dropped() -> None:
    """A byte order mark inside the text stays, so that it is refused as part of an id [I06]."""
    [line] = lines_of(codecs.BOM_UTF8 * 2 + b"5", Format.CSV)

    assert line.campaign_text == "\ufeff5"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_with_a_mark_is_named(encoding: str) -> None:
    """Excel's "Unicode text" is refused by its first bytes [I02]."""
    error = refusal("\ufeffcampaign_id\n5\n".encode(encoding))

    assert (error.place, error.exit_code) == ("byte 0", 2)
    assert error.reason.startswith("it is UTF-16 text")


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        ("5\n6\n".encode("utf-16-le"), 1),
        ("campaign_id,名\n".encode("gbk"), 12),
        ("campaign_id,Café\n".encode("cp1252"), 15),
        (b"campaign_id\n" + b"5\n" * 50_000 + b"\xff", 100_012),
        (b"campaign_id\n" + b"5\n" * 50_000 + b"\0", 100_012),
        ("campaign_id,€".encode()[:-1], 12),
        (b"12345\x0067890", 5),
        (codecs.BOM_UTF8 + b"5\n\xff", 5),
        (codecs.BOM_UTF8 + b"5\n\0", 5),
    ],
)
def test_the_first_bad_byte_is_named(content: bytes, offset: int) -> None:
    """Other encodings, cut-off characters and NUL are refused with their offset [I03, I21]."""
    assert refusal(content).place == f"byte {offset}"


def a_workbook() -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return stored.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(b"5\n", mtime=0), "compressed (gzip)"),
        (gzip.compress(b"5\n" * 9999, mtime=0)[:20], "compressed (gzip)"),
        (a_workbook(), "workbook (save it as CSV)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old workbook (xls)"),
        ("\ufeff5".encode("utf-32-le"), "UTF-32"),
    ],
)
def test_other_kinds_of_files_are_named(content: bytes, kind: str) -> None:
    """What is compressed is never unpacked, so there is no bomb in it [I33]."""
    assert kind in refusal(content).reason


def test_a_table_with_a_column_pk_is_no_workbook() -> None:
    """A database calls its primary key so; a workbook begins with more than these two letters."""
    [line] = lines_of(b"PK,campaign_id\n1,5\n", Format.CSV)

    assert line.ref == CampaignRef(7, 5)


@pytest.mark.parametrize("fmt", [Format.CSV, Format.JSONL])
@pytest.mark.parametrize("content", [b"[\n5,\n6\n]\n", b"[5,6]", b'{"campaignIds": [\n5,\n6\n]}'])
def test_a_json_document_is_not_read_line_by_line(content: bytes, fmt: Format) -> None:
    """Some of its lines may be ids: with --skip-invalid a part of the list would be paused."""
    with pytest.raises(ManifestUnreadableError, match="JSON document") as refused:
        lines_of(codecs.BOM_UTF8 + content, fmt)

    assert "--format" in refused.value.advice


@given(st.lists(st.sampled_from(["a", "\x0b", "\u2028", "\x85", "\n", "\r", "\r\n"])))
def test_lines_end_with_lf_cr_or_both(parts: list[str]) -> None:
    """Lines are those of Python's universal newlines [I04]."""
    text = "".join(parts)

    lines = list(numbered_lines(io.StringIO(text, newline="")))

    assert lines == list(enumerate(io.StringIO(text, newline=""), start=1))


@pytest.mark.parametrize("fmt", [Format.CSV, Format.JSONL])
def test_a_line_over_the_limit_is_refused_by_its_number(fmt: Format) -> None:
    """131,073 characters are too many, whatever stands in them [I25]."""
    for line in (b"7" * (MAX_LINE_CHARS + 1), b'"' + b"7" * MAX_LINE_CHARS + b'"'):
        with pytest.raises(ManifestUnreadableError, match="longer than 131,072 char") as caught:
            lines_of(b"5\n" + line + b"\n", fmt)

        assert caught.value.place == "2"


def test_an_endless_line_is_refused_before_it_is_held() -> None:
    """Of a line without an end no more is read than the limit and some pieces [I25]."""
    read = count()

    def endless() -> Iterator[bytes]:
        while next(read) >= 0:
            yield b"7" * 1000

    with pytest.raises(ManifestUnreadableError, match="longer"):
        list(read_manifest(endless(), Format.CSV, default_vdn=7))

    assert next(read) <= 2 + MAX_LINE_CHARS // 1000 + 1


@pytest.mark.parametrize("form", ["{},", "{}\n"])
def test_millions_of_entries_are_read_one_by_one(form: str) -> None:
    """An entry is yielded long before the end, and little is read ahead of it [I26]."""
    read = count(1)
    fmt = Format.JSON if "," in form else Format.CSV

    def endless() -> Iterator[bytes]:
        yield b"[" if fmt is Format.JSON else b""
        for number in read:
            yield form.format(1_000_000 + number).encode()

    stream = islice(read_manifest(endless(), fmt, default_vdn=7), 50_000)

    assert [line.ref.campaign_id for line in stream if line.ref][-1] == 1_050_000
    assert next(read) < 50_000 + 3 * 65_536 / 8


# ------------------------------------------------------------------ any bytes


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
            assert str(line.ref.campaign_id).encode() in content
            assert 1 <= line.ref.vdn_id <= 9999


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


# ------------------------------------------------------------------ which format


@pytest.mark.parametrize(
    "text", ["101;\n102;\n", "101,\n102,\n", "101\t\n102\t\n", "101 ;;\n102;\n"]
)
def test_a_delimiter_after_each_id_is_no_second_column(text: str) -> None:
    """Some programs end every line with one; a semicolon is as good as a comma."""
    lines = list(read_manifest([text.encode()], Format.CSV, default_vdn=1))

    assert [line.ref for line in lines] == [CampaignRef(1, 101), CampaignRef(1, 102)]


@pytest.mark.parametrize(("name", "words"), [
    ("list.csv.gz", "unpack"), ("list.tar", "unpack"), ("List.XLSX", "save it as CSV"),
    ("list", "--format"), ("list.dat", "--format"),
])  # fmt: skip
def test_advice_for_an_unknown_format_can_be_followed(name: str, words: str) -> None:
    """`--format csv` for a compressed file would only lead to the next refusal."""
    assert words in advice_for(name)


@pytest.mark.parametrize(("text", "named"), [
    ("campaign_id,run_id\n5,r1\n6,r1\n", ["r1"]), ("campaign_id,run_id\n5,r1\n6,r2\n", []),
    ("campaign_id\n5\n", []),
])  # fmt: skip
def test_the_run_that_every_row_names_is_told_at_the_end(text: str, named: list[str]) -> None:
    """Nothing is said of a list that names two, or none."""
    found: list[str] = []

    list(read_manifest([text.encode()], Format.CSV, default_vdn=1, names_run=found.append))

    assert found == named


@pytest.mark.parametrize(("text", "is_noted"), [("1,234\n2,345\n", True), ("1,2345\n", False)])
def test_two_columns_that_look_like_one_number_are_said(text: str, *, is_noted: bool) -> None:
    """`1,234` without a header is VDN 1, campaign 234: read so, and said once."""
    notes: list[str] = []

    list(read_manifest([text.encode()], Format.CSV, default_vdn=None, note=notes.append))

    assert [one for one in notes if "1,234 is read as VDN 1, campaign 234" in one] == notes
    assert len(notes) == is_noted
