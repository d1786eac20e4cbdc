"""From the bytes of an answer to its JSON object: every wrapping, and none that makes a success."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.body import (
    MAX_BODY_BYTES,
    codes_by_pattern,
    read_document,
    read_listing_document,
    unpack,
)
from orchestrator.isales.strict_json import BadJsonError

SUCCESS = b'{"resultCode":"0200000"}'
MEMBERS: dict[str, object] = {"resultCode": "0200000"}


def deflated(body: bytes, *, window_bits: int = zlib.MAX_WBITS) -> bytes:
    """The same bytes, compressed: zlib's form, or raw with -15."""
    packer = zlib.compressobj(wbits=window_bits)
    return packer.compress(body) + packer.flush()


GZIPPED = gzip.compress(SUCCESS, mtime=0)


# -- compression -------------------------------------------------------------------------------

UNPACKED: list[tuple[bytes, str | None]] = [
    # realistic: docs/spec/evidence.md, rule 8: unasked gzip, a coding that is none
    (SUCCESS, None),
    (GZIPPED, "gzip"),
    (GZIPPED, "x-gzip"),
    (GZIPPED, " GZIP "),
    (deflated(SUCCESS), "deflate"),
    (deflated(SUCCESS, window_bits=-zlib.MAX_WBITS), "deflate"),
    (SUCCESS, "UTF-8"),
    (SUCCESS, "identity"),
    (SUCCESS, ""),
    # the bytes know better than the header
    (GZIPPED, None),
    (GZIPPED, "UTF-8"),
    (GZIPPED, "identity, gzip"),
    (GZIPPED, "deflate"),
    (SUCCESS, "gzip"),
    (SUCCESS, "deflate"),
    (SUCCESS, "gzip, deflate"),
    (SUCCESS, "br"),
    (SUCCESS, "none\x1b[31m\udcff"),
]


@pytest.mark.parametrize(("body", "encoding"), UNPACKED)
def test_the_code_decides_and_not_its_wrapping(body: bytes, encoding: str | None) -> None:
    """[S37] gzip unasked, gzip called UTF-8, JSON called gzip: the code is read."""
    assert read_document(body, content_encoding=encoding).members == MEMBERS
    assert read_document(body, content_encoding=encoding).flaw == ""


NOT_UNPACKED: list[tuple[bytes, str | None, str]] = [
    (b"<html>", "deflate", "damaged"),
    (GZIPPED[:-9], "gzip", "cut off"),
    (GZIPPED[:3], None, "cut off"),
    (GZIPPED[:-8] + b"\x00" * 8, "gzip", "damaged"),
    (b"\x1f\x8b\xff" + GZIPPED[3:], None, "damaged"),
    (deflated(SUCCESS)[:-6], "deflate", "compressed"),
]


@pytest.mark.parametrize(("body", "encoding", "reason"), NOT_UNPACKED)
def test_what_cannot_be_unpacked_says_why(body: bytes, encoding: str | None, reason: str) -> None:
    """[S37] A damaged or a cut body is no answer."""
    with pytest.raises(BadJsonError) as refused:
        read_document(body, content_encoding=encoding)

    assert reason in str(refused.value)
    assert codes_by_pattern(body, content_encoding=encoding) == ()
    with pytest.raises(BadJsonError):
        read_listing_document(body, content_encoding=encoding)


@pytest.mark.parametrize("pack", [gzip.compress, deflated])
@pytest.mark.parametrize(("size", "fits"), [(MAX_BODY_BYTES, True), (MAX_BODY_BYTES + 1, False)])
def test_unpacking_ends_at_the_bound_of_a_body(pack: object, size: int, *, fits: bool) -> None:
    """[S36] A megabyte comes out; a byte more is refused, however small it came."""
    assert callable(pack)
    packed = pack(b"x" * size)
    assert len(packed) < 5_000

    if fits:
        assert len(unpack(packed, "deflate")) == size
    else:
        with pytest.raises(BadJsonError, match="too large when unpacked"):
            unpack(packed, "deflate")


@pytest.mark.parametrize("cut", range(len(GZIPPED)))
def test_a_gzip_cut_anywhere_is_no_success(cut: int) -> None:
    """[S30] The connection may end at any byte, also in the checksum."""
    with pytest.raises(BadJsonError):
        read_document(GZIPPED[:cut], content_encoding="gzip")


# -- text --------------------------------------------------------------------------------------

SIMPLIFIED = "数据库操作错误"

TEXTS: list[tuple[bytes, str]] = [
    (json.dumps({"d": SIMPLIFIED}, ensure_ascii=False).encode("utf-8"), SIMPLIFIED),
    (json.dumps({"d": SIMPLIFIED}, ensure_ascii=False).encode("utf-8-sig"), SIMPLIFIED),
    # docs/spec/evidence.md, rule 8: a description in GBK
    (json.dumps({"d": SIMPLIFIED}, ensure_ascii=False).encode("gbk"), SIMPLIFIED),
    (json.dumps({"d": "𠀀" + SIMPLIFIED}, ensure_ascii=False).encode("gb18030"), "𠀀" + SIMPLIFIED),
    # control characters are no fault
    (b'{"d":"spring\tsale"}', "spring\tsale"),
    (b'{"d":"a\x00\x1fb"}', "a\x00\x1fb"),
    # escaped half a character is legal JSON
    (rb'{"d":"half \ud83d"}', "half \ud83d"),
]


@pytest.mark.parametrize(("body", "text"), TEXTS)
def test_text_is_utf_8_or_gb18030(body: bytes, text: str) -> None:
    """[S35] A description in GBK does not hide the code beside it."""
    document = read_document(body, content_encoding=None)

    assert (document.members, document.flaw) == ({"d": text}, "")


@pytest.mark.parametrize("text", ["許功蓋", "功", "蓋\\", "許許許", "a許", "蓋}", '許"'])
def test_big5_with_backslash_bytes_does_not_hide_the_code(text: str) -> None:
    """A trail byte that is a backslash: the text may read wrong in gb18030, the code never does."""
    members = {"resultDesc": text, "resultCode": "0200006"}
    body = json.dumps(members, ensure_ascii=False).encode("big5")
    assert b"\\" in body

    assert read_document(body, content_encoding=None).members["resultCode"] == "0200006"


def test_what_is_utf_8_is_read_in_no_other_way() -> None:
    """In gb18030 the last byte of a character would swallow the backslash, and end the text."""
    body = '{"d":"据\\","resultCode":"0200000"}'.encode()
    swallowed = body.decode("gb18030")
    assert json.loads(swallowed)["resultCode"] == "0200000"

    with pytest.raises(BadJsonError, match="not JSON"):
        read_document(body, content_encoding=None)


REFUSED: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b"[]", "not a JSON object"),
    (b'{"a":"\xff\xff', "not UTF-8 at byte 6"),
    ('{"a": 1}'.encode("utf-16-le"), "not JSON"),
    (b"\xef\xbb\xbf\xef\xbb\xbf{}", "not JSON"),
    (b'{"a":1,"a":2}', "twice"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_what_no_reading_makes_an_object_of_is_refused(body: bytes, reason: str) -> None:
    """[S30][S33][S34] The reason is the one of the first reading, which people understand."""
    with pytest.raises(BadJsonError, match=reason):
        read_document(body, content_encoding=None)


# -- listings as far as they can be read ---------------------------------------------------------

ROW = {"id": 7, "status": 2}

LISTINGS: list[tuple[bytes, dict[str, object], str]] = [
    # docs/spec/evidence.md, rule 7: a TAB, a latin-1 byte, half a character: the text alone
    (b'{"data":[{"id":7,"status":2,"name":"a\tb"}]}', {"data": [ROW | {"name": "a\tb"}]}, ""),
    (b'{"data":[{"id":7,"status":2,"name":"\xff"}]}', {"data": [ROW | {"name": "\ufffd"}]}, ""),
    (
        b'{"data":[{"id":7,"status":2,"name":"\xe6"}]}',
        {"data": [ROW | {"name": "\ufffd"}]},
        "",
    ),
    # the same beside words in gb18030, with a backslash as the last byte of a character
    (
        b'{"data":[{"id":7,"status":2,"name":"\xe6"}],"resultDesc":"\x83\x5c"}',
        {"data": [ROW | {"name": "\ufffd"}], "resultDesc": "\u50dc"},
        "",
    ),
    (
        b'\xef\xbb\xbf{"data":[{"id":7,"status":2,"name":"\xff"}]}',
        {"data": [ROW | {"name": "\ufffd"}]},
        "",
    ),
    # the name of a field is damaged: it may be the other code's
    (b'{"data":[{"id":7,"status":2}],"return\x19ode":"0200006"}',
     {"data": [ROW], "return\x19ode": "0200006"}, "name of a field is damaged"),
    (b'{"data":[{"id":7,"status":2}],"return\xb2ode":"0200006"}',
     {"data": [ROW], "return\ufffdode": "0200006"}, "name of a field is damaged"),
    # what Python's reader bends: read, and no proof
    (b'{"data":[{"id":7,"status":2,"status":2}]}', {"data": [ROW]}, "not strict JSON"),
    (b'{"data":[{"id":7,"status":2}],"x":NaN}', {"data": [ROW], "x": ...}, "not strict JSON"),
    # cut off, or with a broken row: what stands there is taken
    (b'{"totalSize":9,"data":[{"id":7,"status":2},{"id":8,"sta', {"data": [ROW], "totalSize": "9"},
     "incomplete"),
    (b'{"data":[{"id":7,"status":2},{"id":8,,}]}', {"data": [ROW, {"id": "8", "status": ""}]},
     "incomplete"),
    (b'{"data":[{"id":"8","status":"2","name":"a"b"}],"totalSize":"1"}',
     {"data": [{"id": "8", "status": "2"}], "totalSize": "1"}, "incomplete"),
    (b'{"data":[{"no":"id"},{"id":7,"status":2}]', {"data": [ROW]}, "incomplete"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "members", "flaw"), LISTINGS)
def test_a_listing_is_read_as_far_as_it_can_be(
    body: bytes, members: dict[str, object], flaw: str
) -> None:
    """Bad text alone leaves a page whole; a bent or broken one gives rows and proves nothing."""
    document = read_listing_document(body, content_encoding=None)

    shown = {key: (... if key == "x" else value) for key, value in document.members.items()}
    assert shown == members
    assert flaw in document.flaw
    assert bool(document.flaw) is bool(flaw)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"<script>var a = {b: 1}</script>",
        b'{"resultCode":"0200000"',
        b'{"totalSize":0,"data":[',
        b'{"data":[{"id":7,"sta',
        b"[" * 100_000,
        b"[1]",
        b"null",
        b'"\xff"',
    ],
)
def test_a_listing_without_a_readable_row_is_refused(body: bytes) -> None:
    """Nothing to be had from it: never an empty listing."""
    with pytest.raises(BadJsonError):
        read_listing_document(body, content_encoding=None)


NAMES = st.text(st.characters(blacklist_characters="{}"), max_size=12)


@given(
    rows=st.lists(st.tuples(st.integers(1, 2**63 - 1), st.integers(1, 4), NAMES), min_size=1),
    data=st.data(),
)
def test_a_listing_cut_anywhere_shows_only_rows_that_stand_in_it(
    rows: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    """[S30] Cut at any byte: the rows that are whole come out as they were written."""
    entries = [{"id": number, "status": status, "name": name} for number, status, name in rows]
    body = json.dumps({"resultCode": "0200000", "data": entries}).encode()
    cut = body[: data.draw(st.integers(0, len(body) - 1))]

    whole = cut.count(b"}") if b"[" in cut else 0
    if not whole:
        with pytest.raises(BadJsonError):
            read_listing_document(cut, content_encoding=None)
        return
    document = read_listing_document(cut, content_encoding=None)
    assert document.members == {"data": entries[:whole]}
    assert document.flaw


# -- codes by pattern ----------------------------------------------------------------------------

PATTERNS: list[tuple[bytes, tuple[str, ...]]] = [
    (b'{"resultCode":"0200022","d":"', ("0200022",)),
    (b'{"returnCode" : "0200007",,}', ("0200007",)),
    (b'{"resultCode":"02000007"', ("02000007",)),
    (b'{"resultCode":"0200006","returnCode":"0200006"', ("0200006",)),
    (b'{"resultCode":"0200006","returnCode":"0200000"', ("0200006", "0200000")),
    (gzip.compress(b'{"resultCode":"0200022","d":"', mtime=0), ("0200022",)),
    # not strictly a code
    (b'{"resultCode":200006', ()),
    (b'{"resultCode":"200006"', ()),
    (b'{"resultCode":"020000612"', ()),
    (b"{'resultCode':'0200006'}", ()),
    (b'{"ResultCode":"0200006"', ()),
    (b'{"resultCode":"\xef\xbc\x90200006"', ()),
    (b"", ()),
]


@pytest.mark.parametrize(("body", "codes"), PATTERNS)
def test_a_code_is_made_out_by_a_strict_pattern_alone(body: bytes, codes: tuple[str, ...]) -> None:
    """Key, colon, quotes and seven or eight digits; different ones are all told."""
    assert codes_by_pattern(body, content_encoding=None) == codes


# -- laws ----------------------------------------------------------------------------------------

ENCODINGS = st.none() | st.sampled_from(["gzip", "deflate", "br", "UTF-8", "gzip, deflate"])
BODIES = st.one_of(
    st.binary(),
    st.binary().map(gzip.compress),
    st.binary().map(deflated),
    st.binary().map(lambda raw: SUCCESS[:-1] + b',"d":"' + raw + b'"}'),
)


@given(BODIES, ENCODINGS)
def test_nothing_makes_reading_raise_anything_else(body: bytes, encoding: str | None) -> None:
    """Any bytes under any header: an object or a BadJsonError, and codes or none."""
    for read in (read_document, read_listing_document):
        with contextlib.suppress(BadJsonError):
            assert isinstance(read(body, content_encoding=encoding).members, dict)
    assert all(code.isdigit() for code in codes_by_pattern(body, content_encoding=encoding))


@pytest.mark.parametrize(
    "body",
    [
        b'{"resultCode": "0200000", "return\xb2B\xeb\x89Code": "0200001"}',
        b'{"resultC\x19de": "0200006", "returnCode": "0200000"}',
    ],
)
def test_a_body_whose_field_has_a_damaged_name_is_not_believed(body: bytes) -> None:
    """[fuzz, seed 1] The second code may be the one whose name was hit."""
    with pytest.raises(BadJsonError, match="the name of a field is damaged"):
        read_document(body, content_encoding=None)


@given(st.text(min_size=1), st.sampled_from(["utf-8", "gb18030"]))
def test_any_description_in_any_of_the_encodings_leaves_the_code_readable(
    text: str, codec: str
) -> None:
    """Whatever a server writes beside it, the code is what it sent."""
    body = json.dumps({"d": text, "resultCode": "0200006"}, ensure_ascii=False).encode(codec)

    assert read_document(body, content_encoding=None).members["resultCode"] == "0200006"
