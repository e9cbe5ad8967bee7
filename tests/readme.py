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
    """A row per scheme."""
    lines = ["| scheme | paper | family | staleness |", "|---|---|---|---|"]
    for name, scheme in SCHEMES.items():
        path = Path(inspect.getfile(scheme)).relative_to(ROOT).as_posix()
        also = f" ({', '.join(scheme.aliases)})" if scheme.aliases else ""
        family = ", ".join(
            word
            for word in (scheme.taxonomy.concurrency, scheme.taxonomy.consistency, scheme.taxonomy.distribution)
            if word != "none"
        )
        lines.append(f"| [`{name}`]({path}){also} | {scheme.citation} | {family} | {scheme.staleness} |")
    return "\n".join(lines)


if __name__ == "__main__":
    README.write_text(made(README.read_text()))
