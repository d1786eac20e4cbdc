"""Promises of settings/values.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SettingsError
from orchestrator.settings.schema import SETTINGS, SPECS
from orchestrator.settings.secret import Secret
from orchestrator.settings.values import (
    CredentialSettings,
    Given,
    Resolved,
    choose_secret,
    environment_layer,
    environment_warnings,
    file_layer,
    flag_layer,
    ignored_proxy,
    missing_secret,
    refused,
    resolve,
    shown_rows,
)

NEEDED = {
    "server.base_url": Given("https://h.example", "--base-url"),
    "credentials.access_key": Given("AK", "--access-key"),
}


def resolved_from(*layers: dict[str, Given], emergency: bool = False) -> Resolved:
    """Resolve layers below the two values that nothing works without."""
    return resolve([*layers, NEEDED], emergency=emergency, state_dir="/home/op/state")


def test_without_layers_the_defaults_of_the_design_count() -> None:
    """Nothing given but server and key: the table's defaults, each said to be one."""
    resolved = resolved_from()

    assert resolved.values["pace.rate_per_s"] == 10.0
    assert resolved.values["retry.max_attempts"] == 5
    assert resolved.values["state.dir"] == "/home/op/state"
    assert resolved.origins["state.dir"] == "default"
    assert resolved.origins["pace.rate_per_s"] == "default"
    assert resolved.origins["server.ca_file"] == "not set"
    assert resolved.origins["server.base_url"] == "--base-url"


def test_an_emergency_has_its_own_defaults() -> None:
    """pause-all: 3 s and 5 s, no maximum of attempts, cap 1 s."""
    resolved = resolved_from(emergency=True)

    assert resolved.values["server.connect_timeout_s"] == 3.0
    assert resolved.values["server.attempt_timeout_s"] == 5.0
    assert resolved.values["retry.max_attempts"] is None
    assert resolved.values["retry.backoff_cap_s"] == 1.0
    assert resolved.origins["retry.max_attempts"] == "default of pause-all"
    assert resolved.origins["pace.rate_per_s"] == "default"


def test_a_value_that_was_given_outranks_the_emergency_default() -> None:
    """Somebody who wrote 30 s means 30 s."""
    given = {"server.attempt_timeout_s": Given(30, "f.toml:server.attempt_timeout_s")}

    assert resolved_from(given, emergency=True).values["server.attempt_timeout_s"] == 30.0


@given(
    flag=st.none() | st.integers(1, 9),
    variable=st.none() | st.integers(10, 99),
    file=st.none() | st.integers(100, 999),
)
def test_the_first_layer_that_speaks_decides(
    flag: int | None, variable: int | None, file: int | None
) -> None:
    """[C09] Flag, then environment, then file, then default; the origin follows."""
    layers = [
        flag_layer({"pace.concurrency": flag}),
        environment_layer({"ORCHESTRATOR_CONCURRENCY": "" if variable is None else str(variable)}),
        file_layer({} if file is None else {"pace": {"concurrency": file}}, file="f.toml"),
    ]

    resolved = resolved_from(*layers)

    spoken = [
        (flag, "--concurrency"),
        (variable, "ORCHESTRATOR_CONCURRENCY"),
        (file, "f.toml:pace.concurrency"),
        (8, "default"),
    ]
    first = next((value, origin) for value, origin in spoken if value is not None)
    assert first == (resolved.values["pace.concurrency"], resolved.origins["pace.concurrency"])


def test_a_number_in_a_flag_may_come_parsed_or_as_text() -> None:
    """The command line's own parser may have been there first."""
    for value in (7, "7"):
        resolved = resolved_from(flag_layer({"pace.concurrency": value, "pace.rate_per_s": 2.5}))

        assert resolved.values["pace.concurrency"] == 7
        assert resolved.values["pace.rate_per_s"] == 2.5


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            flag_layer({"pace.rate_per_s": "ten"}),
            "--rate: must be a number, not 'ten'",
        ),
        (
            environment_layer({"ORCHESTRATOR_RATE_PER_S": "1\uff10"}),
            r"ORCHESTRATOR_RATE_PER_S: must be a number, not '1\uff10': only the digits 0-9 count",
        ),
        (
            file_layer({"pace": {"rate_per_s": "10"}}, file="/x/c.toml"),
            "/x/c.toml:pace.rate_per_s: must be a number, not '10': write it without quotes",
        ),
        (
            file_layer({"server": {"base_url": ["x"]}}, file="c"),
            "c:server.base_url: must be a URL in quotes, not a list",
        ),
        (
            flag_layer({"retry.max_attempts": 0}),
            "argument retry.max_attempts: must be from 1 to 1,000, not 0",
        ),
    ],
)
def test_a_refusal_names_where_the_value_came_from(layer: dict[str, Given], sentence: str) -> None:
    """[C06] [C07] A flag, a variable or file:key, then the reason, then an example."""
    with pytest.raises(SettingsError) as caught:
        resolved_from(layer)

    assert str(caught.value) == sentence
    assert caught.value.exit_code == 2
    assert caught.value.advice == f"correct it, for example: {SPECS[caught.value.key].example}"


@pytest.mark.parametrize(("access_key", "advice"), [("", " --access-key AK"), ("AK", "")])
def test_a_missing_server_is_an_error_that_says_where_it_was_looked_for(
    access_key: str, advice: str
) -> None:
    """The sample of docs/spec/contracts.md, without its consequence, which load_settings adds."""
    with pytest.raises(SettingsError) as caught:
        resolve(
            [flag_layer({"credentials.access_key": access_key or None})],
            emergency=False,
            state_dir="/s",
            looked_in=["/etc/orchestrator/config.toml"],
        )

    assert str(caught.value) == (
        "no server configured (looked in --base-url, ORCHESTRATOR_BASE_URL,"
        " /etc/orchestrator/config.toml)"
    )
    assert caught.value.advice == f"add --base-url https://HOST:28080{advice}"


def test_a_missing_access_key_is_an_error_unless_none_is_needed() -> None:
    """A dry run needs neither key nor server."""
    layers = [flag_layer({"server.base_url": "https://h"})]
    with pytest.raises(SettingsError, match="no access key configured"):
        resolve(layers, emergency=False, state_dir="/s")

    resolved = resolve(
        [], emergency=False, state_dir="/s", need_server=False, need_credentials=False
    )
    assert resolved.values["credentials.access_key"] is None
    assert resolved.values["server.base_url"] is None


def test_a_missing_secret_is_an_error_that_names_the_safer_way() -> None:
    """[C01] The advice is the file, not the variable."""
    error = missing_secret(["/etc/orchestrator/config.toml"])

    assert str(error) == (
        "no secret key configured (looked in ORCHESTRATOR_SECRET_KEY_FILE,"
        " ORCHESTRATOR_SECRET_KEY, /etc/orchestrator/config.toml)"
    )
    assert "ORCHESTRATOR_SECRET_KEY_FILE" in error.advice


def test_a_cap_below_the_base_is_refused_only_when_somebody_gave_it() -> None:
    """A base of 2 s lifts pause-all's cap of 1 s; a cap of 1 s that was written is a mistake."""
    base = file_layer({"retry": {"backoff_base_s": 2}}, file="f")
    both = file_layer({"retry": {"backoff_base_s": 2, "backoff_cap_s": 1}}, file="f")

    assert resolved_from(base, emergency=True).values["retry.backoff_cap_s"] == 2.0
    with pytest.raises(SettingsError, match=r"must be at least retry\.backoff_base_s, which is 2"):
        resolved_from(both)


def test_the_secret_of_the_first_layer_counts_and_its_file_goes_first() -> None:
    """[C09] Within the environment the file; the environment before the settings file."""
    variable = environment_layer({"ORCHESTRATOR_SECRET_KEY": "SK"})
    both = environment_layer(
        {"ORCHESTRATOR_SECRET_KEY": "SK", "ORCHESTRATOR_SECRET_KEY_FILE": "/run/sk"}
    )
    file = file_layer({"credentials": {"secret_key_file": "/etc/sk"}}, file="f")

    assert choose_secret([{}, variable, file]) == Given(
        Secret("SK"), "ORCHESTRATOR_SECRET_KEY", is_text=True
    )
    assert choose_secret([{}, both, file]) == Given(
        "/run/sk", "ORCHESTRATOR_SECRET_KEY_FILE", is_text=True
    )
    assert choose_secret([{}, {}, file]) == Given("/etc/sk", "f:credentials.secret_key_file")
    assert choose_secret([{}, {}]) is None


def test_the_environment_layer_wraps_the_secret_at_once() -> None:
    """[Z06] The layer can be shown; it holds no secret in the clear."""
    layer = environment_layer({"ORCHESTRATOR_SECRET_KEY": "SKcanary", "PATH": "/bin"})

    assert "SKcanary" not in repr(layer)
    assert list(layer) == ["credentials.secret_key"]


@pytest.mark.parametrize(
    ("document", "hint"),
    [
        ({"pace": {"rate_per_sec": 1}}, "did you mean pace.rate_per_s?"),
        ({"pace": {"rate": 1}}, "did you mean pace.rate_per_s?"),
        ({"servr": {"base_url": "x"}}, "did you mean server.base_url?"),
        ({"base_url": "x"}, "did you mean server.base_url?"),
        ({"retry": {"rate_per_s": 1}}, "did you mean pace.rate_per_s?"),
        (
            {"credentials": {"secret_key": "SKcanary"}},
            "name its file in credentials.secret_key_file",
        ),
        ({"server": [{"base_url": "x"}]}, "it is a section: write [server]"),
        ({"zzz": 1}, "c.toml:zzz: unknown key"),
        ({"a": {"\x1b[31m" + "b" * 200: {"c": 1}}}, r"c.toml:a.\x1b[31mbbb"),
    ],
)
def test_an_unknown_key_is_refused_with_a_guess(document: dict[str, object], hint: str) -> None:
    """[C08] Near misses, wrong sections and secrets in the wrong place."""
    with pytest.raises(SettingsError) as caught:
        file_layer(document, file="c.toml")

    assert hint in str(caught.value)
    assert "unknown key" in str(caught.value)
    assert "SKcanary" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert "\x1b" not in str(caught.value)


def test_an_override_that_is_no_setting_is_refused_in_words() -> None:
    """A library caller's typo is told like one in a file, not as a KeyError from our inside."""
    with pytest.raises(SettingsError, match="unknown key"):
        flag_layer({"pace.rate": 1})


def test_odd_variables_are_named_but_their_values_are_not() -> None:
    """[C13] [C08] Unknown, empty and powerless variables; strangers are left alone."""
    environ = {
        "ORCHESTRATOR_YES": "1",
        "ORCHESTRATOR_RATE": "SKcanary",
        "ORCHESTRATOR_QQ\x1b": "SKcanary",
        "ORCHESTRATOR_BASE_URL": "",
        "ORCHESTRATOR_CONCURRENCY": "4",
        "ORCHESTRATOR_SECRET_KEY": "SKcanary",
        "ORCHESTRATOR_SECRET_KEY_FILE": "/run/sk",
        "YES": "1",
    }

    assert list(environment_warnings(environ)) == [
        "ORCHESTRATOR_BASE_URL is empty and counts as not set",
        r"ORCHESTRATOR_QQ\x1b is not a variable we know, and ignored",
        (
            "ORCHESTRATOR_RATE is not a variable we know, and ignored"
            " (did you mean ORCHESTRATOR_RATE_PER_S?)"
        ),
        (
            "ORCHESTRATOR_YES has no effect: an emergency is confirmed by --yes"
            " or by typing the VDN number"
        ),
        "ORCHESTRATOR_SECRET_KEY_FILE is used, ORCHESTRATOR_SECRET_KEY is ignored",
    ]


def test_no_variable_confirms_anything() -> None:
    """[C13] ORCHESTRATOR_YES makes no difference to any value."""
    assert environment_layer({"ORCHESTRATOR_YES": "1"}) == {}


def test_an_ordinary_environment_is_no_reason_for_warnings() -> None:
    """One known variable, one secret, and what belongs to others."""
    environ = {"ORCHESTRATOR_SECRET_KEY": "SK", "ORCHESTRATOR_CONCURRENCY": "2", "HOME": "/x"}

    assert list(environment_warnings(environ)) == []


def test_a_state_directory_that_was_given_outranks_the_usual_one() -> None:
    """Run directories may be shared."""
    resolved = resolved_from(environment_layer({"ORCHESTRATOR_STATE_DIR": "/srv/runs"}))

    assert resolved.values["state.dir"] == "/srv/runs"
    assert resolved.origins["state.dir"] == "ORCHESTRATOR_STATE_DIR"


def test_every_setting_is_shown_with_its_origin_and_the_secret_masked() -> None:
    """[C09] One row per setting, in the table's order."""
    layer = {
        **environment_layer({"ORCHESTRATOR_SECRET_KEY": "SKcanary"}),
        **file_layer({"signing": {"signed_headers": ["host", "content-type"]}}, file="f"),
        **flag_layer({"pace.rate_per_s": 12.5, "server.ca_file": "/ca.pem"}),
        **flag_layer({"signing.millis": True}),
    }

    rows = shown_rows(resolved_from(layer, emergency=True))

    assert [key for key, _, _ in rows] == [spec.key for spec in SETTINGS]
    assert ("credentials.secret_key", "***", "ORCHESTRATOR_SECRET_KEY") in rows
    assert ("credentials.secret_key_file", "-", "not set") in rows
    assert ("pace.rate_per_s", "12.5", "--rate") in rows
    assert ("pace.concurrency", "8", "default") in rows
    assert ("server.ca_file", "/ca.pem", "--ca-file") in rows
    assert ("retry.max_attempts", "no maximum", "default of pause-all") in rows
    assert ("signing.millis", "true", "argument signing.millis") in rows
    assert ("signing.blank_query_line", "false", "default") in rows
    assert ("signing.signed_headers", "content-type, host", "f:signing.signed_headers") in rows
    assert "SKcanary" not in repr(rows)


def test_what_was_not_set_is_shown_as_such() -> None:
    """[C09] No secret: a dash, not a mask; no CA file: the system's."""
    rows = shown_rows(resolved_from())

    assert ("credentials.secret_key", "-", "not set") in rows
    assert ("server.ca_file", "system", "not set") in rows


def test_a_refused_value_carries_its_key() -> None:
    """The command line can point at the setting without reading the sentence."""
    error = refused("pace.rate_per_s", "--rate", "must be good")

    assert (error.key, str(error)) == ("pace.rate_per_s", "--rate: must be good")


def test_the_values_that_runs_are_given_show_no_secret() -> None:
    """[Z06] A record in a traceback or a log is masked."""
    assert "SKcanary" not in repr(CredentialSettings("AK", Secret("SKcanary")))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, False),
        ({"https_proxy": ""}, False),
        ({"https_proxy": "http://p:3128"}, True),
        ({"ALL_PROXY": "socks5://p"}, True),
        ({"http_proxy": "http://p:3128"}, False),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "other.example"}, True),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "x, isales.example.com:28080"}, False),
        ({"HTTPS_PROXY": "http://p", "no_proxy": ".example.com"}, False),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "*"}, False),
    ],
)
def test_a_proxy_that_is_not_used_is_said_unless_it_would_not_be_used_anyway(
    environ: dict[str, str], *, said: bool
) -> None:
    """https_proxy and all_proxy, in any case; no_proxy by host, suffix, port or star."""
    words = ignored_proxy(environ, host="isales.example.com")

    assert bool(words) is said
    assert "http://p" not in words
    assert said is ("isales.example.com is reached directly" in words)
