"""What `parasim report` does: folders of results become one page, and their tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["report"]


def report(arguments: argparse.Namespace) -> None:
    """Make one HTML page of folders that --out has written: figures, pictures, scenarios; nothing is run again."""
    from parasim.report.folders import read_folders
    from parasim.report.output import claim_folder, json_text
    from parasim.report.page import page_html
    from parasim.report.progress import Progress
    from parasim.report.report_text import report_json, report_text
    from parasim.trace.files import write_atomic

    folders = read_folders(arguments.folders)
    into = arguments.out or arguments.folders[0]
    claim_folder(into, "--out")
    with Progress("drawing") as progress:
        text = page_html(folders, progress.show)
    path = write_atomic(Path(into, "report.html"), text.encode("utf-8", "xmlcharrefreplace"))
    print(json_text(report_json(folders)) if arguments.json else report_text(folders))
    print(f"written: {path}", file=sys.stderr)
