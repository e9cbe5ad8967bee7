"""The parts of README.md and docs/ that are made by commands: ``python -m tests.readme`` writes them, a test compares.

* ``<!-- run: COMMAND -->`` before a fenced block: the block is what the command prints.
* ``<!-- table of: COMMAND -->``: its first paragraph, the table without the notes (but for COUPLED).
* ``<!-- theory of: COMMAND -->``: what follows its line "Theory beside simulation".
* ``<!-- file: PATH -->`` before a fenced block: the block is the file.
* ``<!-- schemes -->`` ... ``<!-- /schemes -->``: the table of schemes; likewise devices, that of the data sheets.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from parasim.cli import main
from parasim.report.devices import devices_markdown
from parasim.report.schemes import scheme_entry
from parasim.schemes import SCHEMES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, ROOT / "docs" / "devices.md", ROOT / "docs" / "survey.md")
CHECKED = {
    "sequential": "the yardstick of the others; closed form to 1e-9",
    "allreduce": "equals sequential bit for bit (every algorithm); closed form to 1e-9 (one bucket); real = simulated",
    "downpour": "one worker equals sequential bit for bit; mean staleness; real runs replayed, 20 of 20",
    "ssp": "slack 0 is BSP, unbounded slack Downpour, bit for bit; gap of clocks; real runs replayed",
    "softsync": "n = N at constant rates is Downpour bit for bit; mean staleness (N-1)/c; real runs replayed",
    "dcasgd": "strength 0 is Downpour bit for bit; recovers the undelayed gradient; real runs replayed",
    "compute_groups": "one group is all-reduce, N are Downpour, bit for bit; momentum 1-1/g; real runs replayed",
    "dynsgd": "one worker equals sequential bit for bit; scales by staleness; real runs replayed",
    "agn": "lambda 1 is Downpour bit for bit; one worker moves 1/lambda of its way; real runs replayed",
    "adag": "one worker equals sequential bit for bit; three placements; real runs replayed",
    "adpsgd": "averaging keeps the sum of all models; no circle of waiting on any graph; real runs replayed, 20 of 20",
    "parameter_server": "equals sequential bit for bit (any number of servers); closed form to 1e-9; real = simulated",
    "dpsgd": "mixing all equals all-reduce bit for bit; the mean model; closed form to 1e-9; real = simulated",
    "sgp": "full mixing equals all-reduce bit for bit; sums of x and w; closed form to 1e-9; real = simulated",
    "osgp": "sums of x and w; messages at most `overlap` late; closed form to 1e-9; real runs replayed",
    "backup_workers": "no backups equal sequential bit for bit; N gradients an update; closed form to 1e-9; replayed",
    "k_sync": "K = N equals sequential bit for bit; closed form to 1e-9; real runs replayed",
    "k_batch_sync": "K gradients of one version in every update; real runs replayed",
    "k_async": "K = N equals sequential bit for bit; mean staleness; real runs replayed",
    "k_batch_async": "K = 1, one worker equals sequential bit for bit; mean staleness; real runs replayed",
    "local_sgd": "every step equals all-reduce bit for bit; closed form to 1e-9; real = simulated",
    "bmuf": "no momentum equals local SGD bit for bit; closed form to 1e-9; real = simulated",
    "one_shot": "equals local SGD that averages at the end bit for bit; closed form to 1e-9; real = simulated",
    "ensemble": "members equal sequential, or all-reduce, bit for bit; closed form to 1e-9; real = simulated",
    "codistillation": "weight 0 is the ensemble bit for bit; autograd; closed form to 1e-9; real = simulated",
    "population_based_training": "no exploitation is the ensemble bit for bit; its rules; real = simulated",
    "successive_halving": "one rung is the ensemble bit for bit; survivors alone; joined = idle; real = simulated",
    "pipe_sgd": "equals SGD with a delay of one bit for bit; closed form to 1e-9; real = simulated",
    "accumulation": "equals sequential bit for bit; closed form to 1e-9; real = simulated",
    "easgd": "stability region; exchanges conserve; closed form to 1e-9; real = simulated, or replayed",
    "eamsgd": "its equations; exchanges conserve; closed form to 1e-9; real = simulated",
    "hogwild": "one worker equals sequential, disjoint supports a serial run, bit for bit; lost updates and torn reads",
    "hogbatch": "one sample at once is Hogwild; lines between cores fall by the batch; closed form to 1e-9",
    "asysvrg": "one worker is SVRG; the first inner step is the full gradient; closed form to 1e-9",
    "hierarchical_sgd": "period 1 equals all-reduce, groups of one local SGD, bit for bit; closed form to 1e-9",
    "zero": "equals sequential bit for bit, every stage; 16 bytes a parameter over N; tensors held; real = simulated",
    "grid": "equals sequential bit for bit; bytes of S24; closed form to 1e-9; real = simulated",
    "three_d": "equals sequential bit for bit, all axes; each axis alone a known scheme; bubble; real = simulated",
    "one_weird_trick": "equals sequential bit for bit, three exchanges; bytes of S23; real = simulated",
    "tensor_parallel": "equals sequential bit for bit, both splits; closed form to 1e-9; real = simulated",
    "ddg": "one module equals sequential bit for bit; autograd at stored versions; closed form; real = simulated",
    "fr": "one module equals sequential bit for bit; autograd of replays; closed form to 1e-9; real = simulated",
    "fdg": "one module equals sequential bit for bit; autograd at stored versions; closed form; real = simulated",
    "fdg_data": "one group is FDG, one module all-reduce, consensus with all averaging, bit for bit; real = simulated",
    "dni": "the oracle equals sequential bit for bit; models of gradients against autograd; real = simulated",
    "gpipe": "equals sequential bit for bit; closed form to 1e-9 (balanced stages); real = simulated",
    "layerwise": "equals sequential bit for bit; closed form to 1e-9; real = simulated",
    "pipedream_flush": "equals sequential bit for bit; GPipe's bubble; K-k in flight; real = simulated",
    "interleaved_1f1b": "equals sequential bit for bit; bubble (K-1)/(vM); torch's order; real = simulated",
    "pipelined_backprop": "gradients at the delayed versions; 2(K-1-k) late, exactly; stashing: FDG; real = simulated",
    "pipedream": "gradients are autograd's at the stashed versions; K-k versions; planner is optimal; real = simulated",
    "pipedream_2bw": "equals SGD with a delay of one for any K and any copies; two versions; real = simulated",
    "spectrain": "passes at the predicted weights; exact for a constant gradient; real = simulated",
    "zb_h1": "equals sequential bit for bit; a third of 1F1B's bubble; torch's order; real = simulated",
}
"""What tests of every scheme hold it to (tests/test_schemes_*.py, tests/test_both_runtimes.py)."""


def made(text: str) -> str:
    """The text with all made parts made anew."""
    for mark, make in BLOCKS.items():
        text = re.sub(
            rf"(<!-- {mark}: ([^\n]*) -->\n```\w*\n)(?:.*?\n)??```",
            lambda m, make=make: f"{m[1]}{make(m[2])}\n```",
            text,
            flags=re.DOTALL,
        )
    for mark, table in TABLES.items():
        text = re.sub(
            rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)",
            lambda m, table=table: f"{m[1]}{table().rstrip()}\n{m[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


def printed(command: str) -> str:
    """What a parasim command prints."""
    program, *words = shlex.split(command)
    assert program == "parasim", command
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(words) == 0
    return output.getvalue().rstrip()


def table_of(command: str) -> str:
    """The first paragraph of what a command prints, and what it says of collectives."""
    table, *notes = printed(command).split("\n\n")
    coupled = [line for line in "\n".join(notes).splitlines() if line.startswith("COUPLED")]
    return "\n".join([table, *([""] if coupled else []), *coupled])


def theory_of(command: str) -> str:
    """What a command prints of theory."""
    return printed(command).split("Theory beside simulation\n\n")[1]


def content(path: str) -> str:
    """What a file holds."""
    return (ROOT / path).read_text().rstrip()


def schemes() -> str:
    """A row per scheme; KeyError if it is not said what is checked of one."""
    lines = ["| scheme | paper | family | staleness | time of a step | checked in CI |", "|---|---|---|---|---|---|"]
    for name, scheme in SCHEMES.items():
        entry = scheme_entry(scheme)
        path = Path(inspect.getfile(scheme)).relative_to(ROOT).as_posix()
        also = f" ({', '.join(entry['aliases'])})" if entry["aliases"] else ""
        family = ", ".join(word for word in entry["family"].values() if word != "none")
        seconds = entry["closed_form"]["formula"] if entry["closed_form"] else "-"
        cells = (f"[`{name}`]({path}){also}", entry["citation"], family, entry["staleness"], seconds, CHECKED[name])
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


BLOCKS: dict[str, Callable[[str], str]] = {
    "run": printed,
    "table of": table_of,
    "theory of": theory_of,
    "file": content,
}
TABLES: dict[str, Callable[[], str]] = {"schemes": schemes, "devices": devices_markdown}
"""What makes each kind of made part."""

if __name__ == "__main__":
    for page in PAGES:
        page.write_text(made(page.read_text()))
