"""The verbs that list what there is: schemes, compressors, topologies (or one cluster), the schema of files."""

from __future__ import annotations

import argparse
import sys
from typing import Any

__all__ = ["compressors", "schema", "schemes", "topologies"]


def schemes(arguments: argparse.Namespace) -> None:
    """List the schemes: family, paper, staleness, options; or draw their tree, or find the neighbours of one."""
    from parasim.report import taxonomy
    from parasim.report.output import show
    from parasim.report.schemes import scheme_entry, schemes_list
    from parasim.schemes import SCHEMES, find

    chosen = [SCHEMES[name] for name in sorted(SCHEMES)]
    if arguments.like:
        one = find(arguments.like)
        entry: Any = taxonomy.likes_entry(one, chosen)
        text = taxonomy.likes_text(one, chosen)
    elif arguments.tree:
        entry, text = taxonomy.tree_entry(chosen), taxonomy.tree_text(chosen)
    else:
        entry, text = [scheme_entry(scheme) for scheme in chosen], schemes_list(chosen)
    show(arguments, "schemes", text, entry)


def compressors(arguments: argparse.Namespace) -> None:
    """List the compressors: paper, bytes, bias, error feedback, options."""
    from parasim.compression import COMPRESSORS
    from parasim.report.compressors import compressor_entry, compressors_list
    from parasim.report.output import show

    codes = list(COMPRESSORS.values())
    show(arguments, "compressors", compressors_list(codes), [compressor_entry(code) for code in codes])


def topologies(arguments: argparse.Namespace) -> None:
    """List the kinds of topologies; or the hosts, switches and cables of one cluster, with a picture."""
    from parasim.report import output
    from parasim.report.topologies import cluster_entry, cluster_text, kind_entries, kinds_text

    if arguments.file is None:
        output.show(arguments, "topologies", kinds_text(), kind_entries())
        return
    from parasim.scenario.sketch import named_clusters

    clusters = named_clusters(arguments.file, arguments.overrides, arguments.variant)
    entries = [cluster_entry(name, cluster) for name, cluster in clusters]
    text = "\n\n".join(cluster_text(name, cluster, every=arguments.all) for name, cluster in clusters)
    output.show(arguments, "topologies", text, entries[0] if len(entries) == 1 else entries)
    if arguments.out:
        from parasim.report.topology_drawing import draw_clusters

        for path in draw_clusters(clusters, arguments.out):
            print(f"written: {path}", file=sys.stderr)


def schema(arguments: argparse.Namespace) -> None:
    """Print the JSON Schema of scenario files, or of profiles, for editors."""
    if arguments.profile:
        from parasim.cluster.profile_schema import profile_schema_text as text
    else:
        from parasim.scenario.schema import schema_text as text
    import json

    from parasim.report.output import show

    show(arguments, "schema", text().rstrip("\n"), json.loads(text()))
