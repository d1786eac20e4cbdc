"""Every command: what it does, its flags, examples and exit codes, in the order of need.

Help, the parser, shell completion and the tests of the documents read this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.cli import flags, values
from orchestrator.cli.flags import EXIT_CODES, Flag

#: runs that `runs` shows where nobody says how many
RUNS_SHOWN = 50

#: of the most urgent commands
EXAMPLES = (
    "orchestrator pause-all --vdn 1234 --reason 'wrong list'",
    "orchestrator pause campaigns.csv --rate 20",
    "orchestrator check --vdn 1234",
    "orchestrator restore last --except guilty.csv",
    "orchestrator demo",
)


class Command(NamedTuple):
    """What is said about a command, and what it takes."""

    does: str
    flags: tuple[Flag, ...]
    examples: tuple[str, ...]
    codes: Mapping[str, str]
    note: str = ""


_BASH_COMPLETIONS = "~/.local/share/bash-completion/completions"

#: name: what it does, in the order in which people need it
COMMANDS = {
    "init": Command(
        "ask for server, keys and VDNs, write them where all commands look, and check",
        (
            Flag("--server-name", "NAME", "what people call the server", dest="server.name"),
            Flag(
                "--trust-sha256",
                "HEX",
                "trust the certificate with this fingerprint",
                values.fingerprint,
            ),
            flags.OPERATOR,
            Flag("--state-dir", "DIR", "the directory of all runs", dest="state.dir"),
            Flag("--vdn", "N", "a VDN that matters; repeatable", values.vdn, action="append"),
            Flag("--yes", "", "ask nothing: flags, the settings that are there, defaults"),
        ),
        (
            "orchestrator init",
            "orchestrator init --config test",
            "orchestrator init --yes --base-url https://isales.example.com:28080 --vdn 1234",
        ),
        {
            "0": "written, and an emergency would work right now",
            "1": "written, and an emergency would not work, or no VDN was given to try",
            "2": "usage or settings refused, or something is missing; nothing was written",
            "3": "written, and the server refuses the credentials",
            "4": "the server cannot be reached, or its certificate cannot be used",
            "5": "a file could not be written",
            "7": "the certificate, or a change of the settings, was not accepted",
            "70": EXIT_CODES["70"],
            "130": "interrupted; nothing was written",
        },
        "Every question has a flag. It shows a certificate that this machine does not trust, and"
        " asks; without a terminal --trust-sha256 or --ca-file answers. The secret key has no"
        " flag: it is typed, or --secret-key-file names its file.",
    ),
    "pause": Command(
        "pause every campaign in a list",
        (
            Flag(
                "list", "LIST", "CSV or JSON with campaign ids; `-` reads stdin", values.list_path
            ),
            Flag("--vdn", "N", "VDN of a list without a VDN column", values.vdn),
            Flag("--format", "csv|json|jsonl", "of the list; default: by its suffix"),
            Flag(
                "--run-dir",
                "DIR",
                "the run directory itself, {date} in it is today's; default: a new one",
                values.path,
            ),
            flags.RATE,
            flags.CONCURRENCY,
            flags.DRY_RUN,
            Flag("--skip-invalid", "", "pause the rest; bad lines are rows (exit 1)"),
            Flag("--max-campaigns", "N", "refuse a longer list", values.count),
            Flag(
                "--max-failures", "N", "end early at N failures; N%: of all", values.failure_limit
            ),
            flags.DEADLINE,
            flags.setting("retry.patience_s"),
            Flag("--no-verify", "", "skip the listings before and after the PUTs"),
            Flag("--cluster", "", "let the workers of the cluster do it, and follow them"),
            flags.ACCEPT,
            flags.REASON,
            flags.OPERATOR,
            flags.JSON,
        ),
        (
            "orchestrator pause campaigns.csv",
            "orchestrator pause ids.txt --vdn 1234 --rate 20 --concurrency 16",
            "orchestrator pause campaigns.csv --dry-run",
            "export-ids | orchestrator pause - --format jsonl --json",
            "orchestrator pause nightly.csv --run-dir '/var/lib/runs/{date}' --accept not_found",
        ),
        {code: why for code, why in EXIT_CODES.items() if code != "6"},
        "With --run-dir a scheduler's retry is safe: an unfinished run of the same list is"
        " continued; a finished one shows its saved result, and nothing is sent, unless it ended"
        " over 12 h ago: exit 7.",
    ),
    "pause-all": Command(
        "the emergency: stop everything in one or several VDNs, and prove quiet",
        (
            flags.VDNS,
            flags.YES,
            flags.DRY_RUN,
            Flag("--hold", "S", "keep watching, pause again whatever starts", values.seconds),
            Flag("--deadline", "S", "seconds for all of it; default: 1800", values.seconds),
            Flag("--cluster", "", "let a worker of the cluster go on with it if this machine dies"),
            flags.RUN_DIR,
            flags.RATE,
            flags.CONCURRENCY,
            flags.REASON,
            flags.OPERATOR,
            flags.JSON,
        ),
        (
            "orchestrator pause-all --vdn 1234",
            "orchestrator pause-all --vdn 1234 --vdn 1235 --yes --reason 'order of 23 November'",
            "orchestrator pause-all --vdn 1234 --hold 600",
            "orchestrator pause-all --vdn 1234 --dry-run",
        ),
        flags.EMERGENCY_CODES,
        "It lists what runs, asks for the VDN number(s) to be typed (separated by spaces), pauses,"
        " catches what starts meanwhile, and ends with proof: two complete listings that show"
        " nothing started. Without a terminal --yes is needed. A terminal that is closed (SIGHUP)"
        " does not stop it.",
    ),
    "status": Command(
        "show what runs in some VDNs, or prove that nothing does; reads only",
        (
            Flag(
                "--vdn", "N", "the VDN; repeatable; default: server.vdns", values.vdn, "", "append"
            ),
            Flag("--prove", "", "look twice, as pause-all does: quiet (exit 0) or not (exit 6)"),
            flags.RATE,
            flags.JSON,
        ),
        (
            "orchestrator status --vdn 1234",
            "orchestrator status --vdn 1234 --vdn 1235 --prove --json",
        ),
        {
            "0": "every VDN was read completely; --prove: quiet is proven",
            "1": "a VDN could not be read completely, or has no campaigns",
            "2": EXIT_CODES["2"],
            "3": "credentials refused",
            "4": "server unreachable or failing, TLS (--prove: 6)",
            "6": "--prove: quiet is not proven, or something runs",
            "70": EXIT_CODES["70"],
        },
        "It sends nothing but GETs and leaves no run behind.",
    ),
    "continue": Command(
        "finish a run that was interrupted",
        (
            flags.RUN,
            flags.setting("pace.rate_per_s", "the run's"),
            flags.setting("pace.concurrency", "the run's"),
            flags.DEADLINE,
            flags.OLD,
            flags.JSON,
        ),
        ("orchestrator continue last", "orchestrator continue 7f3a --rate 20"),
        EXIT_CODES,
        "`last` is the newest unfinished run that nobody works on. Server, pace and verification"
        " are the run's own.",
    ),
    "restore": Command(
        "start again exactly the campaigns that a run turned off",
        (
            flags.RUN,
            flags.YES,
            Flag("--only", "LIST", "1005,1017 or a list; start these and no others", values.word),
            Flag(
                "--except",
                "LIST",
                "1005,1017 or a list; leave these off, also of --only",
                values.word,
                "except_",
            ),
            Flag("--vdn", "N", "these VDNs only; repeatable", values.vdn, action="append"),
            flags.DRY_RUN,
            Flag("--limit", "N", "start at most so many campaigns", values.count),
            Flag("--include-inferred", "", "also campaigns that RUN probably paused"),
            flags.OLD,
            flags.RUN_DIR,
            flags.RATE,
            flags.CONCURRENCY,
            flags.REASON,
            flags.OPERATOR,
            flags.JSON,
        ),
        (
            "orchestrator restore last --dry-run",
            "orchestrator restore last --except 1005,1017",
            "orchestrator restore last --except guilty.csv",
            "orchestrator restore 7f3a --vdn 1234 --limit 10 --yes",
        ),
        flags.RESTORE_CODES,
        "`last` is the newest run that turned something off. It asks for the VDN number(s) of the"
        " run, separated by spaces, as pause-all does.",
    ),
    "report": Command(
        "make the report files again from a run's journal",
        (
            flags.RUN,
            Flag("--html", "FILE", "write the page of the run there too", values.path),
            Flag("--xlsx", "FILE", "write its rows as a workbook", values.path),
            Flag(
                "--with",
                "RUN2",
                "its restore or repeat, or last, on the page of --html too; repeatable",
                values.word,
                "with_",
                "append",
            ),
            flags.JSON,
        ),
        (
            "orchestrator report last",
            "orchestrator report 7f3a --json",
            "orchestrator report 7f3a --with last --html incident.html",
        ),
        {code: why for code, why in EXIT_CODES.items() if code != "7"},
        "`last` is the newest run that was no dry run. Nothing is sent.",
    ),
    "note": Command(
        "add a reason or a remark to a run afterwards",
        (flags.RUN, Flag("text", "TEXT", "the remark; earlier ones stay"), flags.JSON),
        (
            "orchestrator note last 'the list of 26 November was loaded twice'",
            "orchestrator note 7f3a 'ticket 4711' --json",
        ),
        {"0": "the note is added"} | {code: EXIT_CODES[code] for code in ("2", "5", "70")},
        "Nothing is sent. The note is in notes.jsonl of the run at once, and in summary.json.",
    ),
    "runs": Command(
        "list runs, newest first; a live one is marked",
        (
            Flag("--vdn", "N", "only runs of this VDN", values.vdn),
            Flag("--limit", "N", f"so many at most; default: {RUNS_SHOWN}", values.count),
            Flag("--all", "", "dry runs too"),
            Flag("--prune", "", "show which old runs could be deleted"),
            Flag("--older-than", "DAYS", "with --prune: since the end of the run", values.count),
            Flag("--yes", "", "with --prune: delete them"),
            flags.JSON,
        ),
        (
            "orchestrator runs",
            "orchestrator runs --vdn 1234 --limit 10 --json",
            "orchestrator runs --prune --older-than 90",
        ),
        flags.DONE,
        "--prune never deletes a live or unfinished run, a stop that was not restored completely,"
        " or a directory with files that are not a run's.",
    ),
    "stop": Command(
        "end a live run from another terminal, as Ctrl-C in its own would",
        (flags.RUN,),
        ("orchestrator stop last", "orchestrator stop 7f3a"),
        {
            "0": "the run has ended",
            "1": "it had not ended after 15 s, or its process is suspended",
            "2": EXIT_CODES["2"],
            "7": "nobody works on it, on another host, or it is not certain who; no signal",
            "70": EXIT_CODES["70"],
        },
        "What is in flight is settled, doubts are looked at, the report is written;"
        " `continue` finishes the run. `last` is the newest live run.",
    ),
    "console": Command(
        "the red button in a browser, for people without a shell",
        (flags.setting("console.listen"), flags.OPERATOR),
        (
            "orchestrator console",
            "orchestrator console --listen 127.0.0.1:9000 --config production",
        ),
        {
            "0": "ended by Ctrl-C or SIGTERM; what it has started goes on",
            "2": EXIT_CODES["2"],
            "5": "it cannot listen there, or its folder in the state directory cannot be used",
            "70": EXIT_CODES["70"],
        },
        "It prints a link that works once. It starts the commands of this program as processes of"
        " their own, which no end of the console ends.",
    ),
    "check": Command(
        "a read-only drill that shows whether an emergency would work now",
        (
            Flag("--vdn", "N", "the VDN to list; without it less is tried", values.vdn),
            Flag("--notify", "", "also send a test message to everybody whom notify.* names"),
            flags.JSON,
        ),
        ("orchestrator check --vdn 1234", "orchestrator check --vdn 1234 --json"),
        {
            "0": "an emergency would work right now",
            "1": "it would not: no campaign, no place for the journal, not all was tried;"
            " or --notify failed",
            "2": "usage or settings refused",
            "3": "credentials refused",
            "4": "the server is unreachable or failing, or TLS fails",
            "70": EXIT_CODES["70"],
        },
        "It sends nothing but GETs. Exit 0 only when an emergency would work; without --vdn the"
        " signature and the listing are not tried, so that exit is 1 at best.",
    ),
    "config show": Command(
        "effective settings, with the origin of each",
        (flags.JSON,),
        ("orchestrator config show", "orchestrator config show --json"),
        flags.DONE,
    ),
    "cluster init": Command(
        "make the cluster's tables in cluster.database_url, or bring them up to date",
        (),
        ("orchestrator cluster init",),
        {"0": "the tables are there"} | {code: EXIT_CODES[code] for code in ("2", "5", "70")},
        "It needs the extra `cluster` and the right to make a schema in the database. What is"
        " there stays.",
    ),
    "worker": Command(
        "work on runs of the cluster until a signal; start as many as you like, on any machines",
        (flags.CONCURRENCY,),
        ("orchestrator worker", "orchestrator worker --concurrency 16"),
        {
            "0": "ended by a signal",
            "2": EXIT_CODES["2"],
            "3": "the server refuses it; what it had goes to other workers",
            "4": "it does not trust the server's certificate",
            "5": "the database cannot be reached at the beginning",
            "70": EXIT_CODES["70"],
        },
        "SIGTERM or Ctrl-C: what is in flight is finished, the rest goes to other workers."
        " All workers together keep the rate of the run. While the database is away nothing is"
        " sent, and it is waited for.",
    ),
    "simulate": Command(
        "a CC-iSales stand-in on loopback, for drills",
        (
            Flag("--scenario", "NAME", "such as batch, outage or lagging; default: emergency"),
            Flag("--port", "N", "where to listen; 0: any free one; default: 28080", values.port),
            Flag("--seed", "N", "decides which requests meet a fault; default: 1", values.count),
            Flag("--campaigns", "N", "so many made-up campaigns, no scenario", values.count),
            Flag("--vdns", "N", "VDNs of the made-up campaigns; default: 1", values.vdn),
            Flag("--faults", "SHARE", "of its changes that fail, 0 to 1; default: 0", values.share),
            flags.JSON,
        ),
        (
            "orchestrator simulate --scenario emergency",
            "orchestrator simulate --campaigns 10000 --vdns 40 --faults 0.1 --seed 7",
        ),
        flags.DONE,
        "It serves plain http on 127.0.0.1 until Ctrl-C; its keys are invented and public.",
    ),
    "demo": Command(
        "pause a list against the simulator, with faults, and show the report",
        (),
        ("orchestrator demo",),
        {
            "0": "the report adds up and agrees with the simulator",
            "1": "it does not",
            "70": EXIT_CODES["70"],
        },
    ),
    "completion": Command(
        "print the completion script for a shell",
        (Flag("shell", "bash|zsh|fish", "bash, zsh or fish"),),
        (
            f"orchestrator completion bash > {_BASH_COMPLETIONS}/orchestrator",
            'orchestrator completion zsh > "${fpath[1]}/_orchestrator"',
            "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish",
        ),
        flags.DONE,
    ),
}
