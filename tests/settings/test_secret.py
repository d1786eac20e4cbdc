"""Promises of settings/secret.py."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import pprint
import string
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass

import pytest

from orchestrator.settings.secret import MASK, Secret

#: letters that no mask, class name or piece of punctuation holds
CANARY = "qwXZ0918zQxW7"


@dataclass(frozen=True)
class Holder:
    secret: Secret


def by_logging(secret: Secret) -> str:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s %r", (secret, secret), None)
    return record.getMessage()


SHOWING: dict[str, Callable[[Secret], object]] = {
    "str": str,
    "repr": repr,
    "ascii": ascii,
    "format": format,
    "format with a specification": lambda secret: format(secret, ">40s"),
    "f-string": lambda secret: f"{secret} {secret!r} {secret!s} {secret!a} {secret:^9}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "str.format": lambda secret: "{} {0!r}".replace("{}", "{0}").format(secret),
    "template": lambda secret: string.Template("$x").substitute(x=secret),
    "logging": by_logging,
    "pprint": lambda secret: pprint.pformat({"x": [secret]}),
    "json with default=str": lambda secret: json.dumps({"x": secret}, default=str),
    "json with default=repr": lambda secret: json.dumps([secret], default=repr),
    "copy": lambda secret: repr(copy.copy(secret)),
    "deepcopy": lambda secret: repr(copy.deepcopy({"x": secret})),
    "dataclass repr": lambda secret: repr(Holder(secret)),
    "asdict": lambda secret: repr(asdict(Holder(secret))),
    "astuple": lambda secret: repr(astuple(Holder(secret))),
    "exception": lambda secret: repr(ValueError(secret)) + str(ValueError(secret)),
    "hash": lambda secret: str(hash(secret) == hash(Secret("other"))) + MASK,
}

REFUSING: dict[str, Callable[[Secret], object]] = {
    "json": lambda secret: json.dumps({"x": secret}),
    "pickle of a holder": lambda secret: pickle.dumps(Holder(secret)),
    "getstate": lambda secret: secret.__getstate__(),
    "reduce": lambda secret: secret.__reduce__(),
    "vars": vars,
    "bytes": bytes,
    "list": list,
    "concatenation": lambda secret: "x" + secret,
    "join": lambda secret: "".join([secret, secret]),  # noqa: FLY002
    "index": lambda secret: secret[0],
    "percent d": lambda secret: "%d" % secret,  # noqa: UP031
} | {
    f"pickle protocol {protocol}": lambda secret, protocol=protocol: pickle.dumps(secret, protocol)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
}


@pytest.mark.parametrize("route", SHOWING)
def test_showing_a_secret_gives_the_mask(route: str) -> None:
    """[Z06] No piece of the secret comes out of any way to show it."""
    shown = str(SHOWING[route](Secret(CANARY)))

    assert MASK in shown
    assert CANARY not in shown


@pytest.mark.parametrize("route", REFUSING)
def test_storing_or_taking_apart_a_secret_is_refused(route: str) -> None:
    """[Z06] A secret is not pickled, not serialised, not read letter by letter."""
    with pytest.raises(TypeError) as caught:
        REFUSING[route](Secret(CANARY))

    assert CANARY not in str(caught.value)


def test_reveal_is_the_way_out() -> None:
    """[Z06] The text comes back from reveal(), and from a copy's."""
    assert Secret("SKx").reveal() == "SKx"
    assert copy.deepcopy(Secret("SKx")).reveal() == "SKx"


def test_secrets_are_equal_by_their_text_and_to_nothing_else() -> None:
    """Same text: equal; another text, or the bare text: not; a lone surrogate harms nothing."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("\udcff") == Secret("\udcff")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.mark.parametrize(("text", "is_masked"), [("", False), ("abcde", False), ("abcdef", True)])
def test_a_secret_is_taken_out_of_other_texts_from_six_characters_on(
    text: str, *, is_masked: bool
) -> None:
    """A shorter one stands in ordinary words, and they would be unreadable."""
    assert Secret(text).is_masked is is_masked
