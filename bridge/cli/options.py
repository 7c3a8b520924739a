"""Options and arguments that many commands have."""

from typing import Annotated

import typer

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
JsonLines = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Stream = Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream.", show_default=False)]
System = Annotated[str, typer.Argument(metavar="SYSTEM", help="Name of the legacy system.", show_default=False)]
OfStream = Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="Every open letter of this stream.")]
OfSink = Annotated[str | None, typer.Option("--sink", metavar="SINK", help="Every open letter of this sink.")]
Principal = Annotated[str, typer.Argument(metavar="PRINCIPAL", help="Whose it is.", show_default=False)]
Cursor = Annotated[str, typer.Argument(metavar="NAME", help="Name of the cursor.", show_default=False)]
