"""Write constraints-hashes.txt: what CI installs, with the SHA-256 of each file.

usage: python packaging/pin_hashes.py

Run it on Linux (x86-64) with Python 3.11, with the CPU build of torch at hand, after a change of
constraints.txt or of the dependencies in setup.cfg.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = "dev,docs,engines"
HEADER = f"""\
# Versions and SHA-256 of what CI installs on Linux (x86-64) with Python 3.11, extras {EXTRAS};
# made by packaging/pin_hashes.py.
"""


def main() -> None:
    """Write the file."""
    options = ["--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command = [sys.executable, "-m", "pip", "install", *options, "-c", "constraints.txt"]
    run = subprocess.run(
        [*command, "torch==2.13.0", "-e", f".[{EXTRAS}]"], cwd=ROOT, capture_output=True, check=True
    )
    lines = []
    for package in json.loads(run.stdout)["install"]:
        name, version = package["metadata"]["name"], package["metadata"]["version"]
        if name != "skmissvae":
            sha = package["download_info"]["archive_info"]["hashes"]["sha256"]
            lines.append(f"{name}=={version} \\\n    --hash=sha256:{sha}\n")
    (ROOT / "constraints-hashes.txt").write_text(HEADER + "".join(sorted(lines, key=str.lower)))


if __name__ == "__main__":
    main()
