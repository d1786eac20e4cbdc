"""From bytes to text and lines: encodings, other kinds of files, line ends, bounds."""

import codecs
import gzip
import io
import zipfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.manifest.text import (
    PIECE_BYTES,
    ManifestUnreadableError,
    decoded,
    line_blocks,
    line_end,
    physical_lines,
)


def one_by_one(content: bytes) -> Iterator[bytes]:
    return (content[at : at + 1] for at in range(len(content)))


def refusal(content: bytes) -> ManifestUnreadableError:
    with pytest.raises(ManifestUnreadableError) as caught:
        list(decoded(one_by_one(content)))
    with pytest.raises(ManifestUnreadableError) as whole:
        list(decoded([content]))
    assert str(caught.value) == str(whole.value)
    return caught.value


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("text", ["", "5", "id\r\n5\n", "名字,id\n€,7", "x" * 200_000])
def test_utf_8_is_read_with_and_without_a_mark(mark: bytes, text: str) -> None:
    """The byte order mark is no part of the text, wherever the bytes are cut [I01]."""
    content = mark + text.encode()

    assert "".join(decoded([content])) == text
    assert "".join(decoded(one_by_one(content[:1000]))) == text[: 1000 - len(mark)] or "名" in text


def test_only_the_first_mark_is_dropped() -> None:
    """A byte order mark inside the text stays, so that it is refused as part of an id [I06]."""
    assert "".join(decoded([codecs.BOM_UTF8 * 2 + b"5"])) == "\ufeff5"


def test_pieces_are_small_whatever_comes_in() -> None:
    """A chunk of a megabyte is decoded bit by bit [I25]."""
    assert max(map(len, decoded([b"5" * 1_000_000]))) <= PIECE_BYTES


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_with_a_mark_is_named(encoding: str) -> None:
    """Excel's "Unicode text" is refused by its first bytes [I02]."""
    error = refusal("\ufeffcampaign_id\n5\n".encode(encoding))

    assert (error.place, error.exit_code) == ("byte 0", 2)
    assert error.reason.startswith("it is UTF-16 text")


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        ("id\n5\n".encode("utf-16-le"), 1),
        ("campaign_id,名\n".encode("gbk"), 12),
        ("campaign_id,Café\n".encode("cp1252"), 15),
        (b"campaign_id\n" + b"5\n" * 50_000 + b"\xff", 100_012),
        ("campaign_id,€".encode()[:-1], 12),
        (b"12345\x0067890", 5),
        (codecs.BOM_UTF8 + b"5\n\xff", 5),
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


@given(st.lists(st.sampled_from(["a", "\x0b", "\u2028", "\x85", "\n", "\r", "\r\n"])), st.data())
def test_lines_end_with_lf_cr_or_both(parts: list[str], data: st.DataObject) -> None:
    """Lines are those of Python's universal newlines, wherever the text is cut [I04]."""
    text = "".join(parts)
    cut = data.draw(st.integers(0, len(text)))

    lines = list(physical_lines([text[:cut], text[cut:]], limit_chars=100_000))

    assert lines == list(io.StringIO(text, newline=""))


@pytest.mark.parametrize(
    "texts", [["12\n", "34567\n"], ["12\n34567\n"], ["12\n3456", "7"], ["12\n", *"34567"]]
)
def test_a_line_over_the_limit_is_refused_by_its_number(texts: list[str]) -> None:
    """The second line has five characters where four are allowed [I25]."""
    with pytest.raises(ManifestUnreadableError, match="longer than 4 characters") as caught:
        list(physical_lines(texts, limit_chars=4))

    assert caught.value.place == "2"


def test_many_short_lines_in_one_piece_are_no_long_line() -> None:
    """The limit is for a line, not for what is held."""
    assert list(physical_lines(["12\n34\n5"], limit_chars=4)) == ["12\n", "34\n", "5"]


def test_an_endless_line_is_refused_before_it_is_held() -> None:
    """Of a line without an end no more is read than the limit and one piece [I25]."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "7" * 1000

    with pytest.raises(ManifestUnreadableError):
        next(physical_lines(endless(), limit_chars=10_000))

    assert read == 11


def test_a_refusal_names_the_file_when_it_is_known() -> None:
    """The reader does not know the name; who opened the file adds it."""
    error = ManifestUnreadableError("17", "a reason")

    assert str(error) == "the list, line 17: a reason. Nothing was sent."
    assert str(error.in_file("a.csv")) == "a.csv:17: a reason. Nothing was sent."


@given(
    texts=st.lists(st.text("a\r\n", min_size=1, max_size=8), max_size=6),
    limit_chars=st.integers(1, 12),
)
def test_blocks_are_whole_lines(texts: list[str], limit_chars: int) -> None:
    """Cut where lines end; lines and refusals are those of `physical_lines` [I13, I26]."""

    def in_blocks() -> Iterator[str]:
        for block in line_blocks(texts, limit_chars=limit_chars):
            start = 0
            while start < len(block):
                end = line_end(block, start)
                yield block[start:end]
                start = end

    def outcome(lines: Iterator[str]) -> tuple[list[str], str]:
        found: list[str] = []
        try:
            found.extend(lines)
        except ManifestUnreadableError as error:
            return found, str(error)
        return found, ""

    wanted = io.StringIO("".join(texts), newline="").readlines()
    too_long = [at for at, line in enumerate(wanted, start=1) if len(line) > limit_chars]
    lines, refused = outcome(in_blocks())

    assert (lines, refused) == outcome(physical_lines(texts, limit_chars=limit_chars))
    if refused:
        assert f"line {too_long[0]}: the line is longer" in refused
    else:
        assert lines == wanted
