"""What results rest on, kept beside them: the command, the scenario files as they were, the versions, the date.

A folder's `provenance.json` is written last, when all else is there: a folder without it holds no finished results. It
also tells which verb wrote the folder, as several write a summary.json.
"""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from parasim.trace.files import write_atomic

__all__ = ["FORMAT", "PROVENANCE", "Origin", "origin_of"]

PROVENANCE = "provenance.json"
FORMAT = "parasim results 1"


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known before a run begins.

    Attributes
    ----------
    words
        Of the command, from the verb on.
    scenarios
        Text of each scenario file, by its path.
    simulator
        Version of parasim, and a digest of its source.
    warnings
        What has been said of the scenarios; grows while they run.
    """

    words: Sequence[str]
    scenarios: dict[str, str]
    simulator: str
    warnings: Sequence[str]

    def write(self, folder: str | Path, title: str, traces: Sequence[str | None] = ()) -> Path:
        """Write provenance.json, whole or not at all.

        Parameters
        ----------
        folder, title
            Of the results.
        traces
            File name of the trace of each run, None where no rows were kept.
        """
        content = {
            "format": FORMAT,
            "verb": self.words[0],
            "command": shlex.join(["parasim", *self.words]),
            "title": title,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "simulator": self.simulator,
            "python": platform.python_version(),
            "machine": platform.platform(),
            "warnings": list(self.warnings),
            "traces": list(traces),
            "scenarios": self.scenarios,
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        return write_atomic(Path(folder, PROVENANCE), (text + "\n").encode("utf-8", "surrogatepass"))


def origin_of(words: Sequence[str], path: str | Path, simulator: str, warnings: Sequence[str]) -> Origin:
    """The origin of what a command makes of a scenario file, or of a folder of them."""
    place = Path(path)
    files = sorted(place.rglob("*.yaml")) if place.is_dir() else [place] if place.is_file() else []
    texts = {str(file): file.read_text("utf-8-sig", errors="replace") for file in files}
    return Origin(words, texts, simulator, warnings)
