"""`orchestrator check`: would an emergency work right now?"""

from typing import TYPE_CHECKING, Annotated

from orchestrator.cli import flags, values
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from orchestrator.engine.check import Step


def check(
    *,
    vdn: Annotated[
        str | None, flags.Flag(name="--vdn", help="N: the VDN to list; without it less is tried.")
    ] = None,
    json: flags.Json = False,
    shared: flags.Common = flags.NO_FLAGS,
) -> int:
    """Try everything that an emergency needs, but the PUT."""
    import asyncio  # noqa: PLC0415 - `--help` does not wait for it
    import json as json_text  # noqa: PLC0415 - the flag has its name

    from orchestrator.cli import output, runner  # noqa: PLC0415
    from orchestrator.clock import SystemClock  # noqa: PLC0415
    from orchestrator.engine.check import check as start  # noqa: PLC0415
    from orchestrator.engine.check import exit_code_of  # noqa: PLC0415

    vdn_id = values.read_vdn(vdn)
    runner.check_shared(shared)

    def tell(step: "Step") -> None:
        if not json:
            text = for_terminal(step.text, limit=1000)
            output.give(f"{step.finding:<4}  {step.elapsed_ms:>6,} ms  {step.name:<15}  {text}")

    steps = asyncio.run(
        start(
            lambda: runner.load(shared, emergency=True, consequence="Nothing was sent."),
            vdn=vdn_id,
            clock=SystemClock(),
            tell=tell,
        )
    )
    code = exit_code_of(steps)
    if json:
        output.give(
            json_text.dumps({"exit_code": code, "steps": [step._asdict() for step in steps]})
        )
        return code
    output.give(_verdict(steps, code))
    return code


def _verdict(steps: "list[Step]", code: int) -> str:
    failed = [step.name for step in steps if step.exit_code]
    if failed:
        return f"An emergency would NOT work now: {', '.join(failed)}."
    if code:
        return "No step failed, but not everything was tried: give --vdn N."
    return "An emergency would work now."
