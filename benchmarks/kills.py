"""Kill a program that saves a session at random moments, and check what is left.

    python benchmarks/kills.py [ROUNDS]

The rounds are those of ``tests/session/kill_rounds.py``: painting, saving, compacting,
fine-tuning, changing versions. A killed program must leave a folder that opens with
everything confirmed, and everything painted more than a second before. POSIX only.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = Path(__file__).parents[1] / "tests" / "session" / "kill_rounds.py"
LONGEST = 0.5
"""Longest time of a round before the kill, in seconds."""


def main(rounds: int) -> int:
    """Run the rounds; the exit status is 0 if nothing was lost."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROUNDS), f"{folder}/s", str(rounds), str(LONGEST)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
