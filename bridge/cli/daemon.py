"""`legacy-bridge run`, `reload` and `health`: the daemon, and talking to it."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.ask import ask
from bridge.cli.options import Json
from bridge.cli.session import session
from bridge.cli.show import note, say, say_json
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.config.models import Config

ANSWER_S = 2.0


class DaemonUnreachable(BridgeError):
    """Nothing answers where the daemon's health pages should be."""

    code = "daemon.unreachable"
    default_hint = "Start it with `legacy-bridge run`, or look at its log."
    exit_code = 69


@dataclass(frozen=True, slots=True)
class Answer:
    """What one of the daemon's pages said."""

    ok: bool
    text: str

    @property
    def report(self) -> dict[str, Any]:
        """The page as a JSON object; empty when it is none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def run(context: typer.Context) -> None:
    """Run the daemon until it is told to stop.

    SIGTERM or SIGINT stops it after the running step, a second one at once; SIGHUP is `reload`.
    """
    from bridge.daemon import run as run_daemon

    raise typer.Exit(run_daemon(session(context).config_path))


def reload(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the changed file only.")] = False,
    as_json: Json = False,
) -> None:
    """Take over a changed configuration.

    The running daemon takes all of the changes, or none and says why.
    """
    opened = session(context)
    opened.config(online=True)  # a mistake is told here, with file and line, before the daemon is asked
    if dry_run:
        note(f"{opened.config_path}: no mistakes; would ask the daemon to take it over")
        return
    outcome = ask(opened, "reload", {})
    changed = outcome.result.get("changes") or []
    if as_json:
        say_json({"changes": changed})
        return
    note("reloaded" + (f": {', '.join(map(str, changed))}" if changed else "; neither keys nor contracts had changed"))


def health(
    context: typer.Context,
    *,
    ready: Annotated[
        bool, typer.Option("--ready", help="Whether it can do its work, not only whether it lives.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's own report.")] = False,
) -> None:
    """Ask the daemon how it is.

    Exit 0 when well, 1 when not, 69 when nothing answers.
    """
    config = session(context).config()
    answer = fetch(config, "/health" if as_json else "/readyz?verbose" if ready else "/livez")
    if as_json:
        say_json(answer.report)
    else:
        say(answer.text.rstrip())
    raise typer.Exit(0 if answer.ok else 1)


def fetch(config: "Config", path: str) -> Answer:
    """Get one of the daemon's pages. Raises: DaemonUnreachable."""
    import http.client

    where = config.bridge.http
    connection = http.client.HTTPConnection(where.host, where.port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise DaemonUnreachable(f"no daemon answers at http://{where.host}:{where.port}: {error}") from error
    finally:
        connection.close()
    return Answer(ok=response.status == http.client.OK, text=text)
