"""Every setting there is: one row each, read by code, `config show`, documents and tests.

Nothing here can confirm an emergency or turn TLS verification off. The secret key has no flag,
because a command line is public. tests/faults.md, C01 to C14, has the bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.settings import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENVIRONMENT_PREFIX: Final = "ORCHESTRATOR_"
#: the names of settings; none of them is a secret
SECRET_KEY: Final = "credentials.secret_key"  # noqa: S105
SECRET_KEY_FILE: Final = "credentials.secret_key_file"  # noqa: S105
STATE_DIR: Final = "state.dir"

_RATE_MAX_PER_S: Final = 100_000
_CONCURRENCY_MAX: Final = 1_024
_TIMEOUT_MAX_S: Final = 3_600
_ATTEMPTS_MAX: Final = 1_000
_PATIENCE_MAX_S: Final = 7 * 24 * 3_600


class SettingSpec(NamedTuple):
    """One row of the table of settings."""

    #: section.name, as in the TOML file
    key: str
    #: the environment variable, if there is one
    env: str | None
    #: the flag, if there is one
    flag: str | None
    #: None: nothing is assumed
    default: object
    #: the default for pause-all, which has less time
    emergency_default: object
    check: checks.Check
    meaning: str
    #: a correct value, as people write it
    example: str
    #: how a value that arrives as text is turned into a number
    parse: Callable[[str], object] | None = None
    #: False: refused in a file
    in_file: bool = True
    is_path: bool = False


_decimal: Final = checks.decimal_in_text
_whole: Final = checks.whole_in_text

SETTINGS: Final[tuple[SettingSpec, ...]] = (
    SettingSpec(
        key="server.base_url",
        env="ORCHESTRATOR_BASE_URL",
        flag="--base-url",
        default=None,
        emergency_default=None,
        check=checks.base_url,
        meaning="the server; https, plain http for loopback addresses only",
        example="https://HOST:28080",
    ),
    SettingSpec(
        key="server.ca_file",
        env="ORCHESTRATOR_CA_FILE",
        flag="--ca-file",
        default=None,
        emergency_default=None,
        check=checks.path,
        meaning="certificates (PEM) of a private authority; none: the system's authorities",
        example="/etc/orchestrator/ca.pem",
        is_path=True,
    ),
    SettingSpec(
        key="server.connect_timeout_s",
        env=None,
        flag=None,
        default=5.0,
        emergency_default=3.0,
        check=checks.number(most=_TIMEOUT_MAX_S),
        meaning="seconds for one connection to be made",
        example="5",
        parse=_decimal,
    ),
    SettingSpec(
        key="server.attempt_timeout_s",
        env=None,
        flag=None,
        default=15.0,
        emergency_default=5.0,
        check=checks.number(most=_TIMEOUT_MAX_S),
        meaning="seconds for one attempt, from the moment it may be sent to the end of its answer",
        example="15",
        parse=_decimal,
    ),
    SettingSpec(
        key="credentials.access_key",
        env="ORCHESTRATOR_ACCESS_KEY",
        flag="--access-key",
        default=None,
        emergency_default=None,
        check=checks.access_key,
        meaning="the access key (AK)",
        example="AK",
    ),
    SettingSpec(
        key=SECRET_KEY_FILE,
        env="ORCHESTRATOR_SECRET_KEY_FILE",
        flag=None,
        default=None,
        emergency_default=None,
        check=checks.path,
        meaning="file with the secret key (SK), readable by its owner only, or root's and 0640",
        example="/etc/orchestrator/secret_key",
        is_path=True,
    ),
    SettingSpec(
        key=SECRET_KEY,
        env="ORCHESTRATOR_SECRET_KEY",
        flag=None,
        default=None,
        emergency_default=None,
        check=checks.secret_key,
        meaning="the secret key (SK) itself; second choice, never in a file of settings",
        example="SK",
        in_file=False,
    ),
    SettingSpec(
        key="pace.rate_per_s",
        env="ORCHESTRATOR_RATE_PER_S",
        flag="--rate",
        default=10.0,
        emergency_default=10.0,
        check=checks.number(most=_RATE_MAX_PER_S),
        meaning="ceiling on requests of every kind in any one second",
        example="10",
        parse=_decimal,
    ),
    SettingSpec(
        key="pace.concurrency",
        env="ORCHESTRATOR_CONCURRENCY",
        flag="--concurrency",
        default=8,
        emergency_default=8,
        check=checks.count(most=_CONCURRENCY_MAX),
        meaning="requests in flight at once",
        example="8",
        parse=_whole,
    ),
    SettingSpec(
        key="retry.max_attempts",
        env=None,
        flag=None,
        default=5,
        emergency_default=None,
        check=checks.count(most=_ATTEMPTS_MAX),
        meaning="attempts for one campaign, the first included",
        example="5",
        parse=_whole,
    ),
    SettingSpec(
        key="retry.backoff_base_s",
        env=None,
        flag=None,
        default=0.2,
        emergency_default=0.2,
        check=checks.number(most=_TIMEOUT_MAX_S, zero=True),
        meaning="longest wait before the second attempt, in seconds; it doubles from there",
        example="0.2",
        parse=_decimal,
    ),
    SettingSpec(
        key="retry.backoff_cap_s",
        env=None,
        flag=None,
        default=10.0,
        emergency_default=1.0,
        check=checks.number(most=_TIMEOUT_MAX_S, zero=True),
        meaning="longest wait before any attempt, in seconds",
        example="10",
        parse=_decimal,
    ),
    SettingSpec(
        key="retry.patience_s",
        env=None,
        flag="--patience",
        default=1800.0,
        emergency_default=1800.0,
        check=checks.number(most=_PATIENCE_MAX_S, zero=True),
        meaning="seconds the run waits for a failing server before it stops",
        example="1800",
        parse=_decimal,
    ),
    SettingSpec(
        key="signing.blank_query_line",
        env=None,
        flag=None,
        default=False,
        emergency_default=False,
        check=checks.switch,
        meaning="sign an empty line where a request has no query",
        example="false",
    ),
    SettingSpec(
        key="signing.millis",
        env=None,
        flag=None,
        default=False,
        emergency_default=False,
        check=checks.switch,
        meaning="sign times with milliseconds",
        example="false",
    ),
    SettingSpec(
        key="signing.signed_headers",
        env=None,
        flag=None,
        default=("host",),
        emergency_default=("host",),
        check=checks.header_names,
        meaning="headers covered by the signature; host is always one of them",
        example='["host"]',
    ),
    SettingSpec(
        key=STATE_DIR,
        env="ORCHESTRATOR_STATE_DIR",
        flag=None,
        default=None,
        emergency_default=None,
        check=checks.path,
        meaning="where run directories live; none: $XDG_STATE_HOME/orchestrator",
        example="/var/lib/orchestrator",
        is_path=True,
    ),
)

SPECS: Final[Mapping[str, SettingSpec]] = {spec.key: spec for spec in SETTINGS}
