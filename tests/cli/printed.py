"""The places in the sources where a message names a command, and the scenario that reaches each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from orchestrator.cli.table import COMMANDS
from tests.cli.makers import ROOT

_HOLE = "\0"
_NAMES = "|".join(sorted({one.split()[0] for one in COMMANDS}, key=len, reverse=True))
_COMMAND = re.compile(rf"\borchestrator ((?:(?:{_NAMES})\b|--help|--version|{_HOLE})[^`(;\n]*)")

#: test → the places, each with its command, that its output has
_BY_TEST: Mapping[str, tuple[str, ...]] = {
    "test_a_status_that_is_not_quiet_or_cannot_be_read_leads_on": (
        "cli/commands: status --vdn N",
        "cli/commands: check --vdn {}",
    ),
    "test_a_run_that_does_not_end_at_once_is_looked_up": (
        "cli/runs: runs",
        "engine/stop_run: stop {}",
    ),
    "test_a_newcomer_is_led_to_init_and_to_the_emergency": (
        "cli/init: pause-all --vdn {}",
        "cli/init: init",
        "cli/init: init{}",
        "settings/load: init",
        "settings/layers: init --config {}",
    ),
    "test_a_bug_is_followed_by_the_runs_that_are_on_record": (
        "cli/main: runs",
        "cli/main: runs #2",
    ),
    "test_the_simulator_and_the_demo_say_what_works": (
        "cli/rehearsal: pause-all {}",
        "cli/rehearsal: pause {} --base-url {} --rate {}",
    ),
    "test_an_emergency_that_was_left_at_once_is_continued": ("cli/runner: continue {}",),
    "test_a_wrong_line_leads_to_one_that_works[undo last-named3]": ("cli/usage: --help",),
    "test_a_wrong_line_leads_to_one_that_works[resum last-named2]": ("cli/usage: --help #2",),
    "test_a_wrong_line_leads_to_one_that_works[pause --list x.csv-named1]": (
        "cli/usage: pause LIST",
    ),
    "test_a_wrong_line_leads_to_one_that_works[version-named4]": ("cli/usage: --version",),
    "test_a_wrong_line_leads_to_one_that_works[pause x.csv --frobnicate-named0]": (
        "cli/usage: {} --help",
    ),
    "test_a_run_that_nobody_works_on_is_not_stopped_but_finished_or_shown": (
        "engine/finding: pause-all --vdn {}",
        "engine/finding: runs --all",
        "engine/stop_run: continue {}",
        "engine/stop_run: report {}",
    ),
    "test_a_directory_of_another_night_leads_to_its_report": ("engine/same_directory: report {}",),
    "test_a_run_that_nobody_confirmed_asks_again": ("engine/pausing_all: pause-all {}",),
    "test_a_run_that_is_worked_on_can_be_ended": (
        "engine/saved: runs",
        "store/run_dir: stop {}",
    ),
    "test_what_cannot_be_undone_leads_to_the_list_of_runs": (
        "engine/undone: runs",
        "engine/undone: runs #2",
    ),
    "test_a_restore_that_was_overtaken_by_a_stop_is_asked_for_anew": ("engine/stops: restore {}",),
    "test_a_stop_that_was_restored_since_is_asked_for_anew": ("engine/stops: pause-all {}",),
    "test_an_untrusted_certificate_is_trusted_with_the_flag_that_is_named": (
        "reports/next_steps: init",
    ),
    "test_a_list_that_nobody_types_is_piped_in": ("manifest/source: pause - --format csv",),
    "test_a_report_that_cannot_be_written_is_made_again": ("reports/files: report {}",),
    "test_a_server_that_is_away_leads_to_a_check_and_on[failing]": ("reports/next_steps: check{}",),
    "test_a_server_that_is_away_leads_to_a_check_and_on[away]": ("reports/next_steps: check{} #2",),
    "test_a_page_without_relatives_leads_to_the_list_of_runs": ("engine/finding: runs",),
    "test_an_old_stop_leads_to_the_newer_one": ("reports/undo: restore {}",),
    "test_a_restore_that_was_killed_asks_for_a_look": (
        "reports/next_steps: {} --include-inferred",
    ),
    "test_what_failed_is_tried_again_and_nothing_else": ("reports/next_steps: {}",),
    "test_a_list_that_ran_out_of_time_is_continued": ("reports/next_steps: continue {}",),
    "test_an_emergency_without_a_journal_is_begun_anew": ("reports/next_steps: pause-all",),
    "test_another_run_that_stopped_more_is_shown_whatever_was_excepted": (
        "reports/undo: restore {} --dry-run",
    ),
    "test_a_wrong_line_leads_to_one_that_works[report 0bad-named6]": ("store/registry: runs",),
    "test_a_disk_that_is_full_again_later_lets_the_run_be_finished[pause 'my list.csv']": (
        "store/writer: continue {}",
    ),
}
REACHED = {place: test for test, reached in _BY_TEST.items() for place in reached}
#: place and command → why nobody pastes it
NOT_PASTED: Mapping[str, str] = {
    "cli/endings: check --notify": "the text of a test message, which goes to a webhook",
    "cli/endings: {}: exit code {}": "the subject of a message to a webhook",
    "cli/endings: {}: {}": "the subject of a message to a webhook",
    "cli/main: {}": "the version",
    "cli/parser: pause-all --vdn N": "an example of the help text",
    "cli/parser: {} {}[FLAGS]": "the shape of a line, in help texts",
    "settings/schema: check": "a remark in the documents and in configs/example.toml",
    "settings/writing: init": "a comment in the settings file",
    **dict.fromkeys(
        (
            "console/app: --help",
            "console/app: console",
            "console/order_files: pause-all --vdn N",
            "console/order_files: pause-all --vdn N #2",
            "console/orders: pause-all --vdn N",
        ),
        "on a page of the console, for somebody who has a shell besides",
    ),
    **dict.fromkeys(
        (
            "cluster/fetching: continue {}",
            "cli/runs: continue {}",
            "cli/sending: pause-all {}",
            "cluster/following: continue {}",
            "cluster/leading: stop {}",
            "cluster/leading: stop {} #2",
            "engine/pausing_all: pause-all {} #2",
            "engine/undone: continue {}",
            "store/database: cluster init",
            "store/database: cluster init #2",
            "store/postgres: continue {}",
        ),
        "needs PostgreSQL: tests/cluster runs them",
    ),
}


def unreached(test: str, texts: Iterable[str]) -> list[str]:
    """The places that this test was to reach, and did not."""
    printed = list(texts)
    return [
        place
        for place, scenario in REACHED.items()
        if scenario == test and not any(places()[place].search(one) for one in printed)
    ]


@cache
def places() -> Mapping[str, re.Pattern[str]]:
    """Each place, and what its message looks like when it is printed; a second one has a number."""
    found: dict[str, re.Pattern[str]] = {}
    for file in sorted((ROOT / "orchestrator").rglob("*.py")):
        module = file.relative_to(ROOT / "orchestrator").with_suffix("").as_posix()
        for template in _templates(file):
            for command in _COMMAND.findall(template):
                place = f"{module}: {command.replace(_HOLE, '{}').strip()}"
                pattern = _as_printed(template)
                same = [one for one in found if one.partition(" #")[0] == place]
                if pattern not in map(found.get, same):
                    found[f"{place} #{len(same) + 1}" if same else place] = pattern
    return found


def _templates(file: Path) -> Iterator[str]:
    """Every text of a module but the docstrings; what is filled in is a hole."""
    tree = ast.parse(file.read_text("utf-8"))
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Expr, ast.JoinedStr))
        for part in ([node.value] if isinstance(node, ast.Expr) else node.values)
    }
    texts = (node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.Constant)))
    for node in sorted(texts, key=lambda one: (one.lineno, one.col_offset)):
        if id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = node.values
            yield "".join(str(o.value) if isinstance(o, ast.Constant) else _HOLE for o in parts)
        elif isinstance(node.value, str):
            yield node.value


def _as_printed(template: str) -> re.Pattern[str]:
    """The template with anything in its holes, and with completed commands (pasting.py)."""
    pattern = re.escape(template).replace(re.escape(_HOLE), ".*?")
    pattern = re.sub(r"(`[^`]*orchestrator\\ [^`]*)`", r"\1[^`]*`", pattern)
    return re.compile(pattern.replace("orchestrator\\ ", "[^`]*?orchestrator\\ "))
