"""The parts of README.md that are made by commands: ``python -m tests.readme`` writes them, a test compares them.

* ``<!-- run: COMMAND -->`` before a fenced block: the block is what the command prints.
* ``<!-- file: PATH -->`` before a fenced block: the block is the file.
* ``<!-- schemes -->`` ... ``<!-- /schemes -->``: the table of schemes.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import shlex
from pathlib import Path

from parasim.cli import main
from parasim.schemes import SCHEMES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHECKED = {
    "sequential": "the yardstick of the others; closed form to 1e-9",
    "allreduce": "equals sequential bit for bit (every algorithm); closed form to 1e-9 (one bucket); real = simulated",
    "downpour": "one worker equals sequential bit for bit; mean staleness; real runs replayed, 20 of 20",
    "adpsgd": "averaging keeps the sum of all models; staleness of two workers; real runs replayed, 20 of 20",
    "gpipe": "equals sequential bit for bit; closed form to 1e-9 (balanced stages); real = simulated",
}
"""What tests of every scheme hold it to (tests/test_schemes_*.py, tests/test_both_runtimes.py)."""


def made(text: str) -> str:
    """The text with all made parts made anew."""
    text = re.sub(
        r"(<!-- run: (.*?) -->\n```\w*\n).*?(\n```)", lambda m: m[1] + printed(m[2]) + m[3], text, flags=re.DOTALL
    )
    text = re.sub(
        r"(<!-- file: (.*?) -->\n```\w*\n).*?(\n```)",
        lambda m: m[1] + (ROOT / m[2]).read_text().rstrip() + m[3],
        text,
        flags=re.DOTALL,
    )
    return re.sub(
        r"(<!-- schemes -->\n).*?(\n<!-- /schemes -->)", lambda m: m[1] + schemes() + m[2], text, flags=re.DOTALL
    )


def printed(command: str) -> str:
    """What a parasim command prints."""
    program, *words = shlex.split(command)
    assert program == "parasim", command
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(words) == 0
    return output.getvalue().rstrip()


def schemes() -> str:
    """A row per scheme; KeyError if it is not said what is checked of one."""
    lines = ["| scheme | paper | family | staleness | checked in CI |", "|---|---|---|---|---|"]
    for name, scheme in SCHEMES.items():
        path = Path(inspect.getfile(scheme)).relative_to(ROOT).as_posix()
        also = f" ({', '.join(scheme.aliases)})" if scheme.aliases else ""
        family = ", ".join(
            word
            for word in (scheme.taxonomy.concurrency, scheme.taxonomy.consistency, scheme.taxonomy.distribution)
            if word != "none"
        )
        cells = (f"[`{name}`]({path}){also}", scheme.citation, family, scheme.staleness, CHECKED[name])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    README.write_text(made(README.read_text()))
