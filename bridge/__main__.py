"""The command `legacy-bridge`: arguments in, exit code out.

Promises: a foreseen failure prints `error:` and `hint:` on stderr and ends with its class's exit code, never with a
traceback; an unforeseen one ends with its traceback and code 70; a reader that goes away (`| head`) and an interrupt
end the program quietly. Imports nothing heavy.
"""

import gc
import os
import signal
import sys

from bridge.cli import chosen, hoisted
from bridge.errors import BridgeError, InternalError

# New objects after which Python looks for garbage. With its own 700 a command goes again and again through all that it
# has imported, of which nothing is garbage.
_GARBAGE_OBJECTS = 100_000


def main() -> None:
    """Run the command line; does not return."""
    gc.set_threshold(_GARBAGE_OBJECTS, *gc.get_threshold()[1:])
    try:
        arguments = hoisted(sys.argv[1:])
        chosen(arguments)(arguments, prog_name="legacy-bridge")
    except BridgeError as error:
        sys.stderr.write(f"error: {error.detail}\nhint: {error.hint}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Python flushes stdout once more at exit; there is nobody left to read it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception:  # noqa: BLE001 - the outermost frame: exit code 1 would say that a check has failed
        sys.excepthook(*sys.exc_info())
        sys.exit(InternalError.exit_code)
    finally:
        gc.freeze()  # else Python looks for garbage once more, in all that was imported, before it ends


if __name__ == "__main__":
    main()
