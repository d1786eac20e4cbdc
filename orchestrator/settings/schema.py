"""Every setting there is, once: a field of a section, with all that is known about it.

The checks, `config show`, the help of the flags, configs/example.toml and the table in
docs/reference.md are made from it (`./do docs`). Nothing here confirms an emergency or turns TLS
verification off; no flag takes the secret key. tests/faults.md, C01 to C14, has the bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.settings import checks
from orchestrator.settings.checks import Range
from orchestrator.settings.server_url import ServerUrl, read_base_url
from orchestrator.settings.setting import Setting, setting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.settings.secret import Secret

#: the names of settings; none of them is a secret
SECRET_KEY: Final = "credentials.secret_key"  # noqa: S105
SECRET_KEY_FILE: Final = "credentials.secret_key_file"  # noqa: S105
WEBHOOK_SECRET_FILE: Final = "notify.webhook_secret_file"  # noqa: S105
#: may hold a password
DATABASE_URL: Final = "cluster.database_url"

_TIMEOUT_MAX_S: Final = 3_600
_PATIENCE_MAX_S: Final = 7 * 24 * 3_600


@dataclass(frozen=True)
class ServerSettings:
    """Where the server is and how long to wait for it."""

    #: normalised; "" for a command that needs no server and was given none
    base_url: str = setting(
        "the server; https, or plain http to a loopback address",
        checks.base_url,
        "",
        variable="ORCHESTRATOR_BASE_URL",
        flag="--base-url URL",
        example="https://isales.example.com:28080",
    )
    ca_file: Path | None = setting(
        "certificates (PEM) of a private authority",
        checks.path,
        None,
        variable="ORCHESTRATOR_CA_FILE",
        flag="--ca-file FILE",
        example="/etc/orchestrator/ca.pem",
        none="system",
        note="Left out: the system's authorities. No switch turns verification off.",
    )
    name: str = setting(
        "what people call the server, shown in prompts and reports",
        checks.name,
        "",
        variable="ORCHESTRATOR_SERVER_NAME",
        example="production",
        none="host of base_url",
    )
    vdns: tuple[int, ...] = setting(
        "the VDNs that matter, which `check` tries without --vdn",
        checks.vdn_ids,
        (),
        example="[1201, 1202]",
        none="none",
    )
    connect_timeout_s: float = setting(
        "seconds for one connection to be made", Range(_TIMEOUT_MAX_S), 5.0, emergency=3.0
    )
    attempt_timeout_s: float = setting(
        "seconds for one attempt, from the moment it may be sent to the end of its answer",
        Range(_TIMEOUT_MAX_S),
        15.0,
        emergency=5.0,
    )

    @property
    def title(self) -> str:
        """Its name and its URL; the URL alone where its host is its name."""
        url = read_base_url(self.base_url)
        is_host = isinstance(url, ServerUrl) and self.name == url.host
        return f"{self.name} ({self.base_url})" if self.name and not is_host else self.base_url


@dataclass(frozen=True)
class CredentialSettings:
    """Who we are to the server."""

    #: "" for a command that needs no credentials and was given none
    access_key: str = setting(
        "the access key (AK)",
        checks.access_key,
        "",
        variable="ORCHESTRATOR_ACCESS_KEY",
        flag="--access-key AK",
        example="AKEXAMPLE0001",
    )
    #: as it was given; the secret itself is in `secret_key`
    secret_key_file: Path | None = setting(
        "file with the secret key (SK) alone on one line, readable by its owner only,"
        " or root's and 0640 for a group of yours",
        checks.path,
        None,
        variable="ORCHESTRATOR_SECRET_KEY_FILE",
        flag="--secret-key-file FILE",
        example="/etc/orchestrator/secret_key",
        note="Second choice: the variable ORCHESTRATOR_SECRET_KEY."
        " The secret key itself is refused in a file of settings.",
    )
    #: None for a command that needs no credentials
    secret_key: Secret | None = setting(
        "the secret key (SK) itself; second choice, never in a file of settings",
        checks.secret_key,
        None,
        variable="ORCHESTRATOR_SECRET_KEY",
        example="SK",
        in_file=False,
    )


@dataclass(frozen=True)
class OperatorSettings:
    """Who is at work."""

    name: str = setting(
        "who is at work, for every report",
        checks.name,
        "",
        variable="ORCHESTRATOR_OPERATOR",
        flag="--operator NAME",
        example="Jane Doe",
        none="login name",
        note="Left out: the login name; of root, who called sudo.",
    )


@dataclass(frozen=True)
class PaceSettings:
    """How much the server is asked to bear."""

    rate_per_s: float = setting(
        "requests of every kind in any one second, all runs together",
        Range(100_000),
        10.0,
        variable="ORCHESTRATOR_RATE_PER_S",
        flag="--rate R",
    )
    concurrency: int = setting(
        "requests in flight at once",
        Range(1_024, whole=True),
        8,
        variable="ORCHESTRATOR_CONCURRENCY",
        flag="--concurrency C",
    )


@dataclass(frozen=True)
class RetrySettings:
    """How long to go on asking."""

    max_attempts: int | None = setting(
        "attempts for one campaign, the first included",
        Range(1_000, whole=True),
        5,
        emergency=None,
        none="no maximum",
    )
    backoff_base_s: float = setting(
        "longest wait before the second attempt in seconds (it doubles from there)",
        Range(_TIMEOUT_MAX_S, zero=True),
        0.2,
    )
    backoff_cap_s: float = setting(
        "longest wait before any attempt in seconds (backoff_base_s, if that is longer)",
        Range(_TIMEOUT_MAX_S, zero=True),
        10.0,
        emergency=1.0,
    )
    patience_s: float = setting(
        "seconds the run waits for a failing server before it stops",
        Range(_PATIENCE_MAX_S, zero=True),
        1800.0,
        flag="--patience S",
    )


@dataclass(frozen=True)
class SigningRules:
    """The three switches of docs/spec/interface.md, "Signing"."""

    blank_query_line: bool = setting(
        "sign an empty line where a request has no query",
        checks.switch,
        default=False,
        note="`orchestrator check` says when this or the next two have to be changed.",
    )
    millis: bool = setting("sign times with milliseconds", checks.switch, default=False)
    #: lower-case names; `host` is signed even if it is not named
    signed_headers: tuple[str, ...] = setting(
        "headers covered by the signature: host, and perhaps content-type and content-length",
        checks.header_names,
        ("host",),
        example='["host"]',
    )


@dataclass(frozen=True)
class StateSettings:
    """What is kept on this machine."""

    dir: Path = setting(
        "the directory of all run directories",
        checks.path,
        None,
        variable="ORCHESTRATOR_STATE_DIR",
        example="/var/lib/orchestrator",
        none="$XDG_STATE_HOME/orchestrator",
        note="Left out: $XDG_STATE_HOME/orchestrator, usually ~/.local/state/orchestrator."
        " A setgid directory shares the runs with its group.",
    )


@dataclass(frozen=True)
class CmsSettings:
    """The CC-CMS interface, which counts calls in progress."""

    #: normalised
    base_url: str = setting(
        "the CC-CMS interface, for calls in progress after a pause-all; https, or plain http to a"
        " loopback address",
        checks.base_url,
        "",
        example="https://cms.example.com:28080",
        note="Left out: calls in progress are not counted. Certificates and credentials are the"
        " server's.",
    )
    cc_id: int | None = setting(
        "the call centre's number there, where CC-CMS needs it",
        Range(65_535, whole=True),
        None,
        example=1,
    )


@dataclass(frozen=True)
class MetricsSettings:
    """Numbers for a collector of text files."""

    textfile: Path | None = setting(
        "file of metrics (Prometheus text format) that every command brings up to date",
        checks.path,
        None,
        variable="ORCHESTRATOR_METRICS_TEXTFILE",
        example="/var/lib/node_exporter/orchestrator.prom",
    )


@dataclass(frozen=True)
class NotifySettings:
    """Who is told what of a run."""

    on: tuple[str, ...] = setting(
        "what is told: `bad` (exit code not 0, refusals included), `end` (every end), `start` (a"
        " run has begun), `quiet` (an emergency is quiet, before its hold)",
        checks.notices,
        ("bad",),
    )
    webhook_url: Secret | None = setting(
        "a webhook that gets one CloudEvents object; https, or plain http to a loopback address",
        checks.webhook_url,
        None,
        example="https://hooks.example.com/TOKEN",
        note="It may hold a token, so it is masked wherever it is shown.",
    )
    webhook_secret_file: Path | None = setting(
        "file with the secret that signs it, alone on one line, rights as of the secret key's file",
        checks.path,
        None,
        example="/etc/orchestrator/webhook_secret",
    )
    urls: tuple[Secret, ...] = setting(
        "addresses in the form of apprise, told too (needs the extra `notify`)",
        checks.apprise_urls,
        (),
        example='["mailto://user:password@example.com"]',
        note="Masked as well.",
        none="none",
    )


def _people(meaning: str, none: str) -> Any:
    return setting(meaning, checks.names, (), example='["Jane Doe"]', none=none)


@dataclass(frozen=True)
class ConsoleSettings:
    """The console: where it is, and who may do what."""

    listen: str = setting(
        "where the console listens: ADDRESS:PORT, or unix:/PATH",
        checks.listen_address,
        "127.0.0.1:8580",
        flag="--listen ADDRESS",
        note="An address that other machines reach needs user_header and trusted_peers.",
    )
    user_header: str = setting(
        "the header in which a proxy says who is asking; it replaces the one-time link",
        checks.header_name,
        "",
        example="X-Remote-User",
        none="none",
    )
    trusted_peers: tuple[str, ...] = setting(
        "who may say it: addresses or networks of the proxy, `unix` for a unix socket",
        checks.peers,
        (),
        example='["10.0.0.5"]',
        none="none",
    )
    viewers: tuple[str, ...] = _people(
        "who may look; stoppers and restorers may anyway", "everybody who is let in"
    )
    stoppers: tuple[str, ...] = _people(
        "who may stop", "everybody who is let in, unless viewers are named"
    )
    restorers: tuple[str, ...] = _people("who may start again what a run stopped", "nobody")


@dataclass(frozen=True)
class ClusterSettings:
    """Where runs of many machines are kept."""

    database_url: Secret | None = setting(
        "PostgreSQL of the cluster, as postgresql://user@host:5432/database (needs the extra"
        " `cluster`)",
        checks.database_url,
        None,
        variable="ORCHESTRATOR_DATABASE_URL",
        example="postgresql://orchestrator@db.example.com/orchestrator",
        note="It may hold a password, so it is masked wherever it is shown.",
    )


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, checked, with where each value came from."""

    server: ServerSettings = ServerSettings()
    credentials: CredentialSettings = CredentialSettings()
    operator: OperatorSettings = OperatorSettings()
    pace: PaceSettings = PaceSettings()
    retry: RetrySettings = RetrySettings()
    signing: SigningRules = SigningRules()
    state: StateSettings = StateSettings()
    cms: CmsSettings = CmsSettings()
    metrics: MetricsSettings = MetricsSettings()
    notify: NotifySettings = NotifySettings()
    console: ConsoleSettings = ConsoleSettings()
    cluster: ClusterSettings = ClusterSettings()
    #: TOML key -> flag, variable, file:key, "default" or "not set"
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def state_dir(self) -> Path:
        """The directory of all run directories."""
        return self.state.dir

    def value(self, key: str) -> Any:
        """The value of a setting, such as `pace.rate_per_s`."""
        row = SPECS[key]
        return getattr(getattr(self, row.section), row.name)


#: the sections of a file, in order
SECTIONS: Final[Mapping[str, type]] = {
    one.name: type(one.default) for one in fields(Settings) if one.name != "origins"
}
SETTINGS: Final[tuple[Setting, ...]] = tuple(
    replace(one.metadata["row"], key=f"{section}.{one.name}")
    for section, kind in SECTIONS.items()
    for one in fields(kind)
)
SPECS: Final[Mapping[str, Setting]] = {row.key: row for row in SETTINGS}
