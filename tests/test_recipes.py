"""What README.md and docs/recipes.md show runs as it stands, against the simulator."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from orchestrator.simulator.scenarios import SECRET_KEY
from tests.cli.makers import ROOT, environment, served, write_list
from tests.e2e.makers import Stand, world_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
#: a place of the recipes and what stands for it below a test's home
PLACES = {
    "/srv/lists/nightly.csv": "nightly.csv",
    "/lists/nightly.csv": "nightly.csv",
    "/var/lib/orchestrator": "state",
    "/state": "state",
    "/etc/orchestrator/batch.toml": "config.toml",
}

pytestmark = pytest.mark.sockets


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


SERVICE, TIMER, CONSOLE = blocks(RECIPES, "ini")
LIBRARY_DAG, COMMAND_DAG = blocks(RECIPES, "python")


def cron_command() -> str:
    """What cron gives to the shell: the sixth field on, with its percent signs."""
    (table,) = blocks(RECIPES, "cron")
    return table.splitlines()[-1].split(maxsplit=6)[6].replace(r"\%", "%")


def systemd_command() -> str:
    """What systemd starts, with its specifiers and dollars resolved."""
    (line,) = re.findall(r"^ExecStart=(.*)$", SERVICE, re.MULTILINE)
    return str(line).replace("$$", "$").replace("%%", "%")


def kubernetes_command() -> str:
    """The arguments of the container behind its entry point."""
    (arguments,) = re.findall(r"args: \[(.*)\]", RECIPES)
    (entry,) = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', RECIPES, re.MULTILINE)
    return shlex.join([entry, *arguments.replace("$(JOB_NAME)", "pause-nightly-1").split(", ")])


def airflow_command() -> str:
    """What the operator hands to bash on one day."""
    return str(airflow(COMMAND_DAG)["bash_command"]).replace("{{ ds }}", "2026-11-27")


def airflow(dag: str) -> dict[str, Any]:
    """Run a DAG file with stand-ins for Airflow: tasks are kept by name, operators by argument."""
    found: dict[str, Any] = {}

    def task(**_: object) -> Callable[[Callable[..., str]], Callable[[], None]]:
        return lambda function: lambda: found.update(task=function)

    class Dag:
        """As a decorator it keeps the function, as a context it does nothing."""

        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...
        def __call__(self, function: Callable[..., object]) -> Callable[..., object]:
            return function

    parts: dict[str, dict[str, object]] = {
        "airflow.sdk.exceptions": {"AirflowFailException": ArithmeticError},
        "airflow.sdk": {"dag": Dag, "DAG": Dag, "task": task},
        "airflow.providers.standard.operators.bash": {"BashOperator": found.update},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, content in parts.items():
            module = types.ModuleType(name)
            vars(module).update(content)
            patch.setitem(sys.modules, name, module)
        exec(compile(dag, "dag.py", "exec"), {})  # noqa: S102 - the document of this repository
    return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A user's environment with the command on PATH, a list, and the simulator as its server."""
    write_list(tmp_path, 1_234_001, 1_234_002).rename(tmp_path / "nightly.csv")
    (tmp_path / "config.toml").touch()
    with served() as simulator:
        yield with_command(environment(tmp_path, simulator.base_url))


def with_command(env: dict[str, str]) -> dict[str, str]:
    """The environment, with the command on its PATH as an installed wheel would put it there."""
    command = Path(env["HOME"], "bin", "orchestrator")
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m orchestrator "$@"\n')
    command.chmod(0o755)
    return {**env, "PATH": f"{command.parent}:{env['PATH']}"}


def here(text: str, env: Mapping[str, str]) -> str:
    """The text with the places of this test."""
    places = "|".join(map(re.escape, PLACES))
    text = re.sub(rf"(?<!\w)(?:{places})", lambda found: f"{env['HOME']}/{PLACES[found[0]]}", text)
    return text.replace("/usr/local/bin/orchestrator", "orchestrator")


@pytest.mark.parametrize(
    "command", [cron_command, systemd_command, kubernetes_command, airflow_command]
)
def test_the_command_of_each_scheduler_pauses_its_list_and_may_be_repeated(
    command: Callable[[], str], machine: dict[str, str]
) -> None:
    """As a shell gets it: two campaigns paused; the same again shows the saved result."""
    line = here(command(), machine)

    first, second = (
        subprocess.run(
            ["/bin/sh", "-c", line],
            env=machine,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        for _ in range(2)
    )

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    first_line, second_line = (ended.stdout.splitlines()[-1] for ended in (first, second))
    assert first_line == second_line.replace('"replayed": true', '"replayed": false')
    assert re.search('2 stopped|"paused": *2', first.stdout)


def test_the_task_of_the_library_pauses_its_list(
    machine: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function that Airflow would call in a process of its own, with the date of its run."""
    for name, value in machine.items():
        monkeypatch.setenv(name, value)

    line = airflow(here(LIBRARY_DAG, machine))["task"](ds="2026-11-27")

    assert line.startswith("2 lines: 2 stopped (2 paused).")
    assert Path(machine["HOME"], "state", "nightly-2026-11-27", "results.csv").exists()


def test_systemd_accepts_the_services_and_the_timer(tmp_path: Path) -> None:
    """`systemd-analyze verify`, with a program in place of the command that is not installed."""
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip(
            "!!! systemd-analyze is not here: THE UNITS OF docs/recipes.md WERE NOT CHECKED"
        )
    units = {"nightly.service": SERVICE, "nightly.timer": TIMER, "console.service": CONSOLE}
    for name, text in units.items():
        unit = tmp_path / f"orchestrator-{name}"
        unit.write_text(text.replace("/usr/local/bin/orchestrator", "/bin/true"))

    done = subprocess.run(
        [program, "verify", *sorted(tmp_path.iterdir())],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_of_the_console_ends_no_stop_and_its_settings_are_usable(tmp_path: Path) -> None:
    """A new session does not leave the control group: systemd must end the console alone."""
    assert "\nKillMode=process\n" in CONSOLE
    (settings,) = [text for text in blocks(RECIPES, "toml") if "[console]" in text]
    (tmp_path / "console.toml").write_text(settings)
    (line,) = re.findall(r"^ExecStart=(.*)$", CONSOLE, re.MULTILINE)
    here = line.replace("/usr/local/bin/orchestrator", f"{sys.executable} -m orchestrator")
    here = here.replace("/run/orchestrator", str(tmp_path)).replace(
        "/etc/orchestrator", str(tmp_path)
    )

    process = subprocess.Popen(
        shlex.split(here), env=environment(tmp_path, "http://127.0.0.1:9"), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    with process:
        told = process.stderr.readline()
        process.terminate()

    assert told.startswith(f"the console listens on {tmp_path}/console.sock".encode())
    assert process.returncode == 0


async def test_the_three_lines_of_the_readme_stop_everything(tmp_path: Path) -> None:
    """Typed into a shell that knows nothing: a private authority, the key and the VDN asked for."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    user = with_command(environment(tmp_path))
    nothing = {name: user[name] for name in ("PATH", "HOME", "PYTHONPATH")}
    block = blocks(README, "sh")[0].replace("./do orchestrator", "orchestrator")
    assert len(block.splitlines()) == 3
    async with Stand(tls=context, world=world_of(3, vdns=(1234,))) as server:
        block = block.replace("https://isales.example.com:28080", server.url)

        shown, code = await asyncio.to_thread(
            typed, block, nothing, {"Secret key": SECRET_KEY, "Enter: ": "1234"}
        )

    assert code == 0, shown
    assert "VDN 1234 is quiet" in shown
    assert "We paused 3." in shown
    assert SECRET_KEY not in shown


def typed(script: str, env: Mapping[str, str], answers: Mapping[str, str]) -> tuple[str, int]:
    """Run a script at a terminal and answer each question once: what was shown, the exit code."""
    spawn = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    terminal = subprocess.Popen(
        [sys.executable, "-c", spawn, "/bin/sh", "-c", script],
        env=dict(env),
        cwd=env["HOME"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    shown, questions = "", dict(answers)
    with terminal:
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        while part := os.read(terminal.stdout.fileno(), 65536):
            shown += part.decode()
            for question in [one for one in questions if one in shown]:
                terminal.stdin.write(questions.pop(question).encode() + b"\n")
                terminal.stdin.flush()
    return shown, terminal.returncode
