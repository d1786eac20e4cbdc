"""Promises of console/rights.py."""

from __future__ import annotations

import pytest

from orchestrator.console.rights import (
    Place,
    Role,
    Viewer,
    door_problem,
    is_our_host,
    is_trusted,
    place_of,
    post_problem,
    role_of,
    roles_of,
)
from orchestrator.reports.rows import RunKind
from orchestrator.settings.schema import ConsoleSettings

PROXY = ConsoleSettings(user_header="X-Remote-User", trusted_peers=("10.0.0.5", "10.1.0.0/16"))
BEHIND_SOCKET = ConsoleSettings(
    listen="unix:/run/console.sock", user_header="X-Remote-User", trusted_peers=("unix",)
)
VIEW, STOP, RESTORE = Role.VIEWER, Role.STOPPER, Role.RESTORER


@pytest.mark.parametrize(
    ("listen", "place", "is_loopback"),
    [
        ("127.0.0.1:8580", Place("127.0.0.1", 8580), True),
        ("localhost:1", Place("localhost", 1), True),
        ("[::1]:8580", Place("[::1]", 8580), True),
        ("0.0.0.0:8580", Place("0.0.0.0", 8580), False),
        ("unix:/run/console.sock", Place("", 0, "/run/console.sock"), False),
    ],
)
def test_a_place_is_loopback_where_only_this_machine_reaches_it(
    listen: str, place: Place, *, is_loopback: bool
) -> None:
    """0.0.0.0 is everybody; a unix socket is reached by a proxy."""
    assert place_of(listen) == place
    assert place_of(listen).is_loopback is is_loopback
    assert Place("127.0.0.1", 8580).url == "http://127.0.0.1:8580"


@pytest.mark.parametrize(
    "console",
    [
        ConsoleSettings(listen="0.0.0.0:8580"),
        ConsoleSettings(listen="10.0.0.1:8580"),
        ConsoleSettings(listen="unix:/run/console.sock"),
        ConsoleSettings(user_header="X-Remote-User"),
        ConsoleSettings(trusted_peers=("10.0.0.5",)),
        ConsoleSettings(
            listen="unix:/run/s", user_header="X-Remote-User", trusted_peers=("10.0.0.5",)
        ),
    ],
)
def test_a_console_that_could_not_tell_who_is_asking_does_not_start(
    console: ConsoleSettings,
) -> None:
    """Other machines reach it and nobody vouches for them; or a proxy is named by halves."""
    assert "console." in door_problem(console)


@pytest.mark.parametrize("console", [ConsoleSettings(), PROXY, BEHIND_SOCKET])
def test_loopback_alone_and_a_whole_proxy_are_enough(console: ConsoleSettings) -> None:
    """The default needs no setting."""
    assert not door_problem(console)


@pytest.mark.parametrize(
    ("console", "name", "roles"),
    [
        (ConsoleSettings(), "ada", {VIEW, STOP}),
        (ConsoleSettings(restorers=("ada",)), "ada", {VIEW, STOP, RESTORE}),
        (ConsoleSettings(restorers=("ada",)), "bob", {VIEW, STOP}),
        (ConsoleSettings(viewers=("ada",)), "ada", {VIEW}),
        (ConsoleSettings(viewers=("ada",)), "bob", set()),
        (ConsoleSettings(stoppers=("ada",)), "ada", {VIEW, STOP}),
        (ConsoleSettings(stoppers=("ada",)), "bob", {VIEW}),
        (ConsoleSettings(viewers=("ada",), stoppers=("bob",)), "bob", {VIEW, STOP}),
        (ConsoleSettings(viewers=("ada",), restorers=("bob",)), "bob", {VIEW, RESTORE}),
    ],
)
def test_roles_are_by_name_and_restoring_needs_its_own(
    console: ConsoleSettings, name: str, roles: set[Role]
) -> None:
    """Without viewers and stoppers everybody looks and stops; nobody restores unnamed."""
    assert roles_of(name, console) == roles
    assert Viewer(name, frozenset(roles)).may(STOP) is (STOP in roles)
    assert [role_of(one) for one in (RunKind.PAUSE_ALL, RunKind.RESTORE)] == [STOP, RESTORE]


@pytest.mark.parametrize(
    ("peer", "console", "trusted"),
    [
        ("10.0.0.5", PROXY, True),
        ("10.0.0.6", PROXY, False),
        ("10.1.200.9", PROXY, True),
        ("::ffff:10.0.0.5", PROXY, True),
        ("fe80::1%eth0", PROXY, False),
        ("", PROXY, False),
        ("", BEHIND_SOCKET, True),
        ("127.0.0.1", BEHIND_SOCKET, False),
        ("127.0.0.1", ConsoleSettings(), False),
    ],
)
def test_a_header_counts_from_named_peers_only(
    peer: str, console: ConsoleSettings, *, trusted: bool
) -> None:
    """Three well-known tools trust it from anywhere."""
    assert is_trusted(peer, console) is trusted


@pytest.mark.parametrize(
    ("host", "place", "is_ours"),
    [
        ("127.0.0.1:8580", Place("127.0.0.1", 8580), True),
        ("LocalHost:8580", Place("127.0.0.1", 8580), True),
        ("[::1]:8580", Place("127.0.0.1", 8580), True),
        ("127.0.0.1:8581", Place("127.0.0.1", 8580), False),
        ("127.0.0.1", Place("127.0.0.1", 8580), False),
        ("evil.example:8580", Place("127.0.0.1", 8580), False),
        ("localhost", Place("localhost", 80), True),
        ("localhost:80", Place("localhost", 80), True),
        ("", Place("127.0.0.1", 8580), False),
        ("localhost:8580", Place("10.0.0.1", 8580), False),
        ("10.0.0.1:8580", Place("10.0.0.1", 8580), True),
    ],
)
def test_the_name_of_another_server_is_not_ours(host: str, place: Place, *, is_ours: bool) -> None:
    """A name that a foreign page has made to lead here is still its own name."""
    assert is_our_host(host, place) is is_ours


OURS = "http://127.0.0.1:8580"


@pytest.mark.parametrize(
    ("fetch_site", "origin", "is_taken"),
    [
        ("same-origin", OURS, True),
        ("same-origin", "", True),
        ("same-origin", "null", True),
        ("none", OURS, True),
        ("", OURS, True),
        ("", "https://127.0.0.1:8580", True),
        ("none", "", False),
        ("none", "null", False),
        ("", "", False),
        ("", "null", False),
        ("cross-site", OURS, False),
        ("same-site", OURS, False),
        ("same-origin", "http://evil.example", False),
        ("", "http://127.0.0.1:8580.evil.example", False),
    ],
)
def test_a_form_is_taken_from_our_own_pages_only(
    fetch_site: str, origin: str, *, is_taken: bool
) -> None:
    """Either word of the browser is enough, no word is not, and neither may say another site."""
    problem = post_problem(fetch_site=fetch_site, origin=origin, host="127.0.0.1:8580")

    assert (not problem) is is_taken
