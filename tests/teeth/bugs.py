"""The seeded bugs: which promise each breaks, the one change that does it, who should notice.

Rule 1: an old text stands exactly once in its file; keep it short, so that a formatter or a new
        comment nearby does not lose it. `./do teeth quick=1` says when one is lost.
Rule 2: a bug leaves a product that starts and pauses: what crashes at once proves nothing.
Rule 3: `caught_by` is the quickest test that is about this promise, not one that trips over it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One exact replacement in one file of the product."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake that somebody could make."""

    name: str
    #: the promise that it breaks, in words
    promise: str
    changes: tuple[Change, ...]
    #: below tests/, as pytest takes them
    caught_by: tuple[str, ...]


def _bug(name: str, promise: str, *caught_by: str, changes: tuple[Change, ...]) -> Bug:
    return Bug(name, promise, changes, caught_by)


_OUTCOME = "orchestrator/core/outcome.py"
_PACING = "orchestrator/core/pacing.py"
_BREAKER = "orchestrator/core/breaker.py"
_SWEEP = "orchestrator/core/sweep.py"
_VERDICT = "orchestrator/core/verdict.py"
_CLIENT = "orchestrator/edges/isales_client/client.py"
_JOURNAL = "orchestrator/edges/journal/"
_REPORT_FILES = "orchestrator/edges/report_files.py"
_SETTLE_ONE = "orchestrator/run/settle_one.py"
_SENDING = "orchestrator/run/sending.py"
_EMERGENCY = "orchestrator/run/emergency.py"
_RESTORING = "orchestrator/run/restoring.py"

#: one line each in the tables below
_TEST_CLIENT = "edges/test_isales_client.py::test_"
_TEST_SETTLE = "run/test_settle_one.py::test_"
_TEST_SENDING = "run/test_sending.py::test_"
_TEST_EMERGENCY = "run/test_emergency.py::test_"
_TEST_LISTING = "run/test_listing.py::test_"
_TEST_BULK = "run/test_bulk.py::test_"
_TEST_LIVES = "run/test_lives.py::test_"
_TEST_PLANNING = "edges/test_journal_planning.py::test_"

DURABILITY = (
    _bug(
        "journal_without_fsync",
        "what a commit returned for is on the disk",
        f"{_TEST_PLANNING}a_finished_journal_is_durable",
        changes=(
            Change(f"{_JOURNAL}tables.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"),
        ),
    ),
    _bug(
        "plan_renamed_unsynced",
        "the plan is on the disk before it is called the journal",
        f"{_TEST_PLANNING}it_is_on_the_disk_before_it_has_its_name",
        changes=(Change(f"{_JOURNAL}planning.py", "            _sync(self._part)\n", ""),),
    ),
    _bug(
        "plan_built_in_place",
        "a plan that was cut off is no journal",
        f"{_TEST_PLANNING}the_journal_has_its_name_only_when_it_is_finished",
        changes=(
            Change(
                f"{_JOURNAL}planning.py",
                'path.with_name(path.name + ".part") if path else None',
                "path",
            ),
        ),
    ),
    _bug(
        "report_renamed_unsynced",
        "a report is on the disk before it replaces the old one",
        "edges/test_report_files.py::test_a_file_is_on_the_disk_before_it_has_its_name",
        changes=(
            Change(
                _REPORT_FILES,
                "        self.settle(name, text)\n        self.refuse",
                "        text.flush()\n        self.refuse",
            ),
        ),
    ),
    _bug(
        "report_renamed_before_it_is_written",
        "killed anywhere, the report is the old one or the new one",
        "edges/test_report_files.py::test_killed_anywhere_the_report_is_old_or_new",
        "edges/test_report_files.py::test_a_journal_that_breaks_half_way_leaves_the_old_report",
        changes=(
            Change(
                _REPORT_FILES,
                "        tally = _write_csv(rows, results, failed, kind)\n",
                "",
            ),
            Change(
                _REPORT_FILES,
                "        place.publish(RESULTS, results)\n",
                "        place.publish(RESULTS, results)\n"
                "        tally = _write_csv(rows, results, failed, kind)\n",
            ),
        ),
    ),
    _bug(
        "intent_after_send",
        "an intent is durable before its PUT leaves",
        f"{_TEST_SETTLE}the_intent_is_committed_before_its_put_leaves",
        changes=(
            Change(_SETTLE_ONE, "        await rig.journal.intend(intent)\n", ""),
            Change(
                _SETTLE_ONE,
                "        verdict = heard.verdict\n        case.free_repeat = False\n",
                "        await rig.journal.intend(intent)\n"
                "        verdict = heard.verdict\n        case.free_repeat = False\n",
            ),
        ),
    ),
    _bug(
        "intent_not_awaited",
        "an intent is durable before its PUT leaves",
        f"{_TEST_SETTLE}the_intent_is_committed_before_its_put_leaves",
        changes=(
            Change(
                _SETTLE_ONE,
                "        await rig.journal.intend(intent)\n",
                "        rig.journal.intend(intent)\n",
            ),
        ),
    ),
    _bug(
        "checksums_not_compared",
        "a damaged journal is refused, never half-read",
        "edges/test_journal_tables.py::test_any_changed_value_of_any_row_is_found",
        changes=(Change(f"{_JOURNAL}tables.py", "if row[-1] != crc(row[:-1]):", "if not row:"),),
    ),
    _bug(
        "full_disk_goes_unnoticed",
        "a batch run stops before the next PUT when its journal cannot be written",
        f"{_TEST_LIVES}a_batch_sends_nothing_more_once_its_disk_has_failed",
        changes=(
            Change(
                f"{_JOURNAL}writer.py",
                "        return [self.failure] * len(operations)",
                "        return [None] * len(operations)",
            ),
        ),
    ),
    _bug(
        "emergency_without_memory",
        "nothing stops the stopping: a full disk does not end a pause-all",
        f"{_TEST_EMERGENCY}a_disk_that_fails_does_not_stop_the_stopping",
        changes=(
            Change(
                "orchestrator/run/session.py",
                "keep_going = undertaking.kind is RunKind.PAUSE_ALL",
                "keep_going = False",
            ),
        ),
    ),
    _bug(
        "lock_not_taken",
        "one process at a time works on a run",
        "edges/test_run_directory.py::test_one_holder_at_a_time",
        changes=(
            Change(
                "orchestrator/edges/run_directory.py",
                "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
                "fcntl.flock(descriptor, fcntl.LOCK_UN)",
            ),
        ),
    ),
)

READING = (
    _bug(
        "int_on_codes",
        "0200006 and 02000006 are different things, and codes are text",
        "core/test_result_codes.py",
        "core/test_verdict.py",
        changes=(
            Change(
                "orchestrator/core/result_codes.py",
                "    if isinstance(value, str):\n        return value\n",
                "    if isinstance(value, str) and value.isdigit():\n"
                "        return f'0{int(value)}'\n"
                "    if isinstance(value, str):\n        return value\n",
            ),
        ),
    ),
    _bug(
        "int_on_ids",
        "only digits are an id: nothing is guessed",
        "core/test_campaign.py::test_what_int_would_take_is_refused",
        changes=(
            Change(
                "orchestrator/core/campaign.py",
                "if not _DIGITS.fullmatch(value):",
                "if not value.strip().lstrip('+').replace('_', '').isdecimal():",
            ),
        ),
    ),
    _bug(
        "duplicate_keys_accepted",
        "an answer with a key twice is not believed",
        "core/test_strict_json.py::test_everything_doubtful_is_refused_with_a_reason",
        changes=(
            Change(
                "orchestrator/core/strict_json.py", "if len(members) != len(pairs):", "if False:"
            ),
        ),
    ),
    _bug(
        "success_body_of_a_5xx_believed",
        "HTTP 5xx is never success, whatever its body",
        "core/test_verdict.py::test_a_status_that_is_not_200_is_never_a_success",
        changes=(Change(_VERDICT, "if status == 200:", "if status == 200 or status >= 500:"),),
    ),
    _bug(
        "disagreeing_codes_accepted",
        "success needs every code present to be 0200000",
        "core/test_verdict.py::test_two_different_codes_are_never_a_success",
        changes=(Change(_VERDICT, "    if len(set(present)) > 1:\n", "    if not present:\n"),),
    ),
    _bug(
        "unlimited_body",
        "an endless answer costs 64 KiB",
        "edges/test_isales_client_answers.py::test_an_endless_body_ends_at_64_kib",
        changes=(Change(_CLIENT, "if room < 0:", "if room < -(2**40):"),),
    ),
    _bug(
        "gzip_unfolded",
        "a gzip bomb stays folded",
        "edges/test_isales_client_answers.py::test_a_gzip_bomb_stays_folded",
        changes=(Change(_CLIENT, "auto_decompress=False", "auto_decompress=True"),),
    ),
    _bug(
        "redirects_followed",
        "nothing goes to another host or port",
        "edges/test_isales_client_answers.py::test_a_redirect_reaches_nobody",
        changes=(Change(_CLIENT, "allow_redirects=False", "allow_redirects=True"),),
    ),
    _bug(
        "connection_not_looked_at",
        "nothing is written into a connection that has ended or holds an answer nobody asked for",
        f"{_TEST_CLIENT}an_end_that_the_loop_has_not_read_yet_is_noticed_too",
        changes=(
            Change(
                _CLIENT, "    return may_hold_tickets or not _has_input(", "    return True or ("
            ),
        ),
    ),
    _bug(
        "certificate_errors_retried",
        "a certificate error ends the run and is never retried",
        "core/test_verdict.py",
        changes=(Change(_VERDICT, "    if fault in TLS_FAULTS:\n", "    if not fault:\n"),),
    ),
    _bug(
        "silent_resend_of_aiohttp",
        "no PUT is sent a second time unseen",
        f"{_TEST_CLIENT}a_dropped_kept_alive_connection_is_one_request_and_one_fault",
        changes=(Change(_CLIENT, "middlewares=(_never_again,),", "middlewares=(),"),),
    ),
)

TIMING = (
    _bug(
        "slot_before_connection",
        "the slot is taken with the connection in hand, so a slow handshake cannot bunch sends",
        "edges/test_isales_client_network.py::test_a_refused_connection_is_named_with_host_and_port",
        changes=(
            Change(
                _CLIENT,
                "            connection = await self._open(req, traces, timeout, trip)\n",
                "            await trip.departure.slot()\n"
                "            connection = await self._open(req, traces, timeout, trip)\n",
            ),
            Change(
                _CLIENT,
                "                await trip.departure.slot()\n                if ",
                "                if ",
            ),
        ),
    ),
    _bug(
        "await_between_slot_and_send",
        "between the slot and the bytes on the wire nothing is awaited",
        f"{_TEST_CLIENT}nothing_runs_between_the_slot_and_the_write",
        changes=(
            Change(
                _CLIENT,
                "                await trip.departure.slot()\n                if ",
                "                await trip.departure.slot()\n"
                "                await asyncio.sleep(0)\n                if ",
            ),
        ),
    ),
    _bug(
        "cancellation_swallowed",
        "whoever is cancelled ends",
        f"{_TEST_CLIENT}cancelled_while_waiting_for_the_answer_drops_the_connection",
        changes=(
            Change(
                _CLIENT,
                "            except (aiohttp.ClientError, OSError, LostError) as exc:\n",
                "            except (\n                aiohttp.ClientError, OSError, LostError,"
                " asyncio.CancelledError\n            ) as exc:\n",
            ),
        ),
    ),
    _bug(
        "token_bucket",
        "at most R requests leave in any second; a bucket lets 2R through in the first",
        "core/test_pacing.py",
        changes=(
            Change(
                _PACING,
                "oldest.at_s + self._window_s + guard_s if oldest and beyond >= 0 else -math.inf",
                "-math.inf",
            ),
            Change(_PACING, "_SLACK_S = 0.010", "_SLACK_S = 1.0"),
        ),
    ),
    _bug(
        "every_way_is_steady",
        "a request that was late on its way keeps the next ones back for as long",
        "core/test_pacing.py::test_a_request_late_on_its_way_makes_room_for_itself",
        changes=(
            Change(
                _PACING,
                "left.trip_s - self._least_trip_s + LEAST_GUARD_S",
                "LEAST_GUARD_S",
            ),
        ),
    ),
    _bug(
        "ahead_of_the_pace",
        "while requests wait for the pacer no campaign is at work ahead of those in flight",
        "run/test_slots.py::test_nobody_is_ahead_while_the_pace_holds_us_back",
        changes=(
            Change(
                "orchestrator/run/slots.py",
                "self._least if self._is_paced() else self._most",
                "self._most",
            ),
        ),
    ),
    _bug(
        "rows_after_who_reads_them",
        "an operation that reads sees the rows that were submitted before it",
        "edges/test_journal_writer.py::"
        "test_an_operation_that_reads_sees_the_rows_before_it_and_none_after",
        changes=(
            Change(
                f"{_JOURNAL}writer.py",
                "        _put_gathered(connection, gathered)\n        results.append(",
                "        results.append(",
            ),
        ),
    ),
    _bug(
        "no_limit_is_watched",
        "a request that has no answer in time is a timeout",
        "edges/test_isales_client_deadlines.py::test_a_limit_that_passes_is_a_timeout",
        changes=(
            Change(
                "orchestrator/edges/isales_client/deadlines.py",
                "if deadline.at_s <= now_s:",
                "if deadline.at_s <= now_s - 1e9:",
            ),
        ),
    ),
    _bug(
        "retry_after_ignored",
        "Retry-After holds the whole run",
        f"{_TEST_SENDING}retry_after_is_honoured_by_the_whole_run",
        changes=(
            Change(
                _SENDING,
                "until_s = None if wait_s is None else now_s + wait_s",
                "until_s = None",
            ),
        ),
    ),
    _bug(
        "retry_after_unbounded",
        "no server makes a run wait for more than a minute",
        "core/test_retry.py::test_seconds_are_plain_ascii_digits_clamped_to_a_minute",
        changes=(
            Change(
                "orchestrator/core/retry.py", "RETRY_AFTER_MAX_S = 60.0", "RETRY_AFTER_MAX_S = 6e9"
            ),
        ),
    ),
    _bug(
        "backoff_holds_its_slot",
        "whoever backs off leaves its slot to others",
        f"{_TEST_SETTLE}a_backoff_holds_no_slot",
        changes=(
            Change(
                _SETTLE_ONE,
                "    try:\n        await rig.stopping.sleep(wait_s)\n",
                "    try:\n        async with rig.sender.slots:\n"
                "            await rig.stopping.sleep(wait_s)\n",
            ),
        ),
    ),
    _bug(
        "breaker_never_opens",
        "an outage is waited out behind single probes",
        "core/test_breaker.py::test_five_different_campaigns_in_a_row_open_it",
        changes=(Change(_BREAKER, ">= self._threshold", ">= self._threshold * 10**6"),),
    ),
    _bug(
        "breaker_opens_on_one_campaign",
        "one stubborn campaign says nothing about the server",
        "core/test_breaker.py::test_one_stubborn_campaign_never_opens_it",
        changes=(Change(_BREAKER, "self._row.add(ref)", "self._row.add((ref, len(self._row)))"),),
    ),
    _bug(
        "probes_are_charged",
        "the server's failures are not a campaign's",
        "core/test_retry.py::test_an_outage_is_charged_to_nobody",
        changes=(
            Change("orchestrator/core/retry.py", "if breaker_open or probe:", "if breaker_open:"),
        ),
    ),
    _bug(
        "first_requests_go_together",
        "a wrong key costs one request, not one for every worker",
        f"{_TEST_SENDING}until_proven_requests_go_alone",
        changes=(
            Change(
                _SENDING,
                "        if self._proven:\n            return admission\n",
                "        if not self._proven:\n            return admission\n",
            ),
        ),
    ),
    _bug(
        "401_repeated_for_every_campaign",
        "refused credentials end the run at once",
        "e2e/test_answers.py::test_a_refused_key_without_a_look_costs_one_put",
        changes=(
            Change(
                _SENDING,
                "        self.stopping.stop(Ended.CREDENTIALS, heard.verdict.reason)\n",
                "",
            ),
            Change(
                _SETTLE_ONE,
                "        return not rig.stopping.is_stopping\n",
                "        return False\n",
            ),
        ),
    ),
    _bug(
        "sends_after_the_stop",
        "after a signal nothing new is sent",
        f"{_TEST_LIVES}after_a_signal_nothing_new_leaves",
        changes=(
            Change(
                _SENDING,
                "if self.stopping.is_stopping or self._is_held(admission):",
                "if self._is_held(admission):",
            ),
        ),
    ),
)

OUTCOMES = (
    _bug(
        "unknown_folded_into_failed",
        "`unknown` is never folded into `failed`",
        "core/test_outcome.py::test_doubt_is_never_folded_into_failed",
        changes=(
            Change(
                _OUTCOME, "return Decision(Outcome.UNKNOWN, ", "return Decision(Outcome.FAILED, "
            ),
        ),
    ),
    _bug(
        "already_paused_reported_as_changed",
        "changed is what we did, so that undo is exact",
        "core/test_outcome.py::test_ours_is_only_what_was_accepted_or_in_doubt_and_at_its_target",
        "core/test_outcome.py::test_a_seen_state_decides_as_the_table_says",
        changes=(
            Change(
                _OUTCOME,
                "    if not history.doubted or history.before is course.target:\n"
                "        return Decision(course.already, evidence)\n",
                "    if not history.doubted or history.before is course.target:\n"
                "        return Decision(course.already, evidence, Changed.YES)\n",
            ),
        ),
    ),
    _bug(
        "look_overwrites_the_state_before",
        "a look made after an intent never replaces the state before",
        f"{_TEST_LIVES}a_look_after_an_intent_does_not_replace_the_state_before",
        changes=(
            Change(f"{_JOURNAL}journal.py", "if row[0] not in touched", "if True or touched"),
        ),
    ),
    _bug(
        "acceptances_not_verified",
        "accepted, yet listed as started: paused once more, else still_running",
        f"{_TEST_BULK}a_campaign_started_again_meanwhile_is_paused_once_more",
        f"{_TEST_SETTLE}a_lie_is_found_out_by_the_check",
        changes=(
            Change(
                "orchestrator/run/bulk.py",
                "            await _verify_all(rig)\n",
                "            pass\n",
            ),
        ),
    ),
    _bug(
        "exit_0_with_unknown_rows",
        "exit 0 means that every campaign is stopped",
        "core/test_summary.py::test_every_situation_has_the_exit_code_of_the_design",
        "core/test_summary.py::test_the_exit_code_follows_from_outcomes_and_end",
        changes=(
            Change(
                "orchestrator/core/summary.py",
                "for outcome in (UNSTOPPED - accept) |",
                "for outcome in (UNSTOPPED - accept - {Outcome.UNKNOWN}) |",
            ),
        ),
    ),
    _bug(
        "report_in_the_order_of_settling",
        "one row per line of the list, in its order",
        f"{_TEST_LIVES}rows_stand_in_the_order_of_the_list",
        changes=(
            Change(
                f"{_JOURNAL}fold.py",
                " LEFT JOIN outcomes o ON o.seq = p.seq ORDER BY p.seq",
                " LEFT JOIN outcomes o ON o.seq = p.seq ORDER BY o.settled_at_ms, p.seq DESC",
            ),
        ),
    ),
    _bug(
        "secret_in_repr",
        "a secret shows as *** wherever it is shown",
        "core/test_secret.py::test_showing_a_secret_gives_the_mask",
        changes=(
            Change(
                "orchestrator/core/secret.py",
                "    def __repr__(self) -> str:\n        return MASK\n",
                "    def __repr__(self) -> str:\n        return f'Secret({self._text!r})'\n",
            ),
        ),
    ),
    _bug(
        "spreadsheet_escape_dropped",
        "no cell of a report is ever calculated",
        "core/test_escaping.py::test_hostile_text_is_tame_in_both_sinks",
        changes=(
            Change(
                "orchestrator/core/escaping.py",
                """guard = "'" if _FORMULA.match(head) else ""\n""",
                """guard = ""\n""",
            ),
        ),
    ),
)

EMERGENCY = (
    _bug(
        "forward_paging_trusted",
        "page numbers over a shrinking list prove nothing; only sweeps do",
        f"{_TEST_EMERGENCY}all_that_runs_is_paused_and_proven[250-id]",
        changes=(
            Change(_EMERGENCY, "            backwards=True,\n", "            backwards=False,\n"),
            Change(
                _EMERGENCY,
                "            await self._sweep(vdn)\n",
                "            vdn.proof.confirmed = True\n"
                "            vdn.quiet_since_ms = vdn.last_sweep_ms = self.rig.clock.wall_ms()\n"
                "            vdn.has_campaigns = True\n",
            ),
        ),
    ),
    _bug(
        "forward_paging",
        "one pass over a shrinking list finds everything that was started when it began",
        f"{_TEST_LIVES}one_pass_over_a_shrinking_list_finds_all_that_ran",
        changes=(
            Change(_EMERGENCY, "            backwards=True,\n", "            backwards=False,\n"),
        ),
    ),
    _bug(
        "one_clean_sweep",
        "quiet needs two clean sweeps",
        "core/test_sweep.py::test_what_the_sweeps_amount_to",
        "core/test_sweep.py::test_quiet_is_only_said_after_two_clean_sweeps_with_nothing_between",
        changes=(
            Change(
                _SWEEP,
                "            self.clean_since_s = ended_s\n",
                "            self.clean_since_s = ended_s\n            self.confirmed = True\n",
            ),
        ),
    ),
    _bug(
        "sweeps_without_a_gap",
        "the two sweeps are at least 5 s apart",
        "core/test_sweep.py::test_what_the_sweeps_amount_to",
        "core/test_sweep.py::test_quiet_is_only_said_after_two_clean_sweeps_with_nothing_between",
        changes=(
            Change(_SWEEP, "elif began_s - self.clean_since_s >= GAP_S:", "elif began_s >= 0:"),
        ),
    ),
    _bug(
        "sweep_with_a_put_in_flight",
        "a sweep begins when no PUT is pending or in flight",
        f"{_TEST_EMERGENCY}a_sweep_begins_with_no_put_pending",
        changes=(Change(_EMERGENCY, "            await self._until_at_rest(vdn)\n", ""),),
    ),
    _bug(
        "short_listing_complete",
        "a listing is complete when the rows seen equal its totalSize",
        "core/test_sweep.py::test_a_listing_is_complete_or_says_why_not",
        changes=(
            Change(
                _SWEEP, "if not self.problem and len(self.ids) != self.total_size:", "if False:"
            ),
        ),
    ),
    _bug(
        "failed_page_is_an_empty_page",
        "a failed listing is never `nothing runs`",
        f"{_TEST_LISTING}listings_of_what_runs_that_fail_prove_nothing",
        changes=(
            Change(
                "orchestrator/run/listing.py",
                '        self.seen.fail(f"page {page}: {verdict.reason}")\n',
                "        self.seen.total_size = len(self.seen.rows)\n",
            ),
        ),
    ),
    _bug(
        "positive_control_skipped",
        "a mistyped VDN, where nothing exists, is not quiet",
        f"{_TEST_EMERGENCY}a_mistyped_vdn_is_not_quiet",
        changes=(
            Change(
                _EMERGENCY, "has_campaigns: bool | None = None", "has_campaigns: bool | None = True"
            ),
        ),
    ),
)

LIVES = (
    _bug(
        "continue_sends_settled_campaigns_again",
        "never a PUT for a campaign that was settled in an earlier life",
        f"{_TEST_LIVES}what_an_earlier_life_settled_gets_no_put",
        changes=(
            Change(f"{_JOURNAL}fold.py", " AND o.standing <> 'exhausted')", " AND o.seq < 0)"),
        ),
    ),
    _bug(
        "continue_does_not_look",
        "an attempt in doubt is looked at before it is sent again",
        f"{_TEST_LIVES}an_attempt_in_doubt_is_looked_at_before_it_is_sent_again",
        changes=(
            Change("orchestrator/run/bulk.py", "if plan.verify or plan.continued:", "if False:"),
        ),
    ),
    _bug(
        "continue_on_another_server",
        "a run is not continued on another server",
        f"{_TEST_LIVES}a_run_of_another_server_is_refused",
        changes=(
            Change(
                "orchestrator/run/beginning.py",
                "if configured and server_fingerprint(configured) != facts.fingerprint:",
                "if not facts:",
            ),
        ),
    ),
    _bug(
        "restore_starts_what_it_found_paused",
        "restore starts exactly what the run turned off",
        f"{_TEST_LIVES}restore_leaves_what_was_found_paused",
        changes=(
            Change(
                f"{_JOURNAL}fold.py",
                "o.changed = 'yes' AND o.outcome IN ('paused', 'still_running')",
                "o.outcome IN ('paused', 'still_running', 'already_paused')",
            ),
        ),
    ),
    _bug(
        "restore_starts_twice",
        "a repeated restore starts nothing twice",
        f"{_TEST_LIVES}a_repeated_restore_starts_nothing_twice",
        changes=(Change(_RESTORING, 'if state == "restored":', 'if state == "never":'),),
    ),
    _bug(
        "restore_marks_nothing_before",
        "a start is remembered before it is sent, so a killed restore starts nothing twice",
        f"{_TEST_LIVES}a_start_is_remembered_before_it_is_sent",
        changes=(
            Change(
                _RESTORING,
                '            await _mark(undone, surroundings, ref, run_id, "intended")\n',
                "            await asyncio.sleep(0)\n",
            ),
        ),
    ),
)

BUGS: tuple[Bug, ...] = (*DURABILITY, *READING, *TIMING, *OUTCOMES, *EMERGENCY, *LIVES)
