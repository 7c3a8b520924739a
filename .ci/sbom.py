#!/usr/bin/env python3
"""Write what a release is made of, as CycloneDX: FOLDER, then the extras that it is run with, as for `uv export`.

Every package is one of the lock, with where it comes from, the hashes of its files and what it needs itself. Needs no
network. uv leaves the version of the project out, which the reader of a bill of materials looks for first.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(folder: Path, extras: list[str]) -> Path:
    """The file that was written."""
    sys.path.insert(0, str(ROOT))
    from bridge import __version__ as version  # noqa: PLC0415  found by the line above

    uv = Path(sys.executable).with_name("uv")
    export = ["export", "--quiet", "--frozen", "--no-dev", *extras, "--format", "cyclonedx1.5"]
    command = [str(uv), *export, "--preview-features", "sbom-export", "--directory", str(ROOT)]
    bill = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)  # noqa: S603  our own words
    bill["metadata"]["component"] |= {"type": "application", "version": version}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"legacy-bridge-{version}.cdx.json"
    path.write_text(json.dumps(bill, indent=1) + "\n")
    return path


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2:]))  # noqa: T201  the result
