"""`legacy-bridge demo`: a legacy ERP at work, the bridge beside it, and a reckoning of what was lost."""

from pathlib import Path
from typing import Annotated

import typer

from bridge.errors import ConfigError


def demo(
    *,
    seconds: Annotated[float, typer.Option(envvar="DEMO_SECONDS", min=1, help="How long the ERP works.")] = 30,
    rate: Annotated[float, typer.Option(min=0.1, help="Its transactions per second.")] = 100,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the files in this new folder.")] = None,
) -> None:
    """Show the bridge at work on a demo ERP.

    Ends with a reckoning by a separate process, `lost: N` and `doubled: N` last; exit 1 when either is not 0.
    """
    try:
        from demo.run import run
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the demo is not installed ({error.name} is missing)",
            hint="Run it from a checkout of the repository with `make demo`.",
        ) from error
    raise typer.Exit(run(seconds=seconds, rate=rate, keep=keep))
