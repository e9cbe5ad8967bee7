"""A graph file to what networkx makes of it: GraphML, or node-link JSON under either of the names networkx gives edges.

networkx makes nodes of names that only edges mention, makes one of nodes with the same name, and reads the first graph
of several. In a cluster each of these is a slip that adds or loses machines, so they are refused.
"""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from parasim.errors import ScenarioError

__all__ = ["load_graph"]

_MAX_BYTES = 64 * 1024 * 1024
_MAX_SHOWN = 60


def load_graph(path: Path, shown: str) -> Any:
    """The graph, as networkx has it.

    Parameters
    ----------
    path
        The file; GraphML unless its name ends in ".json".
    shown
        What errors call it.

    Raises
    ------
    ScenarioError
        One line: the file can't be read, has another form, or its edges and nodes do not fit together.
    """
    import networkx as nx

    is_json = path.suffix.lower() == ".json"
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ScenarioError(f"{shown}: is no regular file: name a GraphML or node-link JSON file")
        if found.st_size > _MAX_BYTES:
            raise ScenarioError(f"{shown}: has {found.st_size} bytes; the limit is {_MAX_BYTES}")
        if not is_json:
            graph = nx.read_graphml(path)
            _check_markup(shown, ET.parse(path).getroot())  # noqa: S314 # networkx has just done so too
            return graph
        document = json.loads(path.read_bytes())
        edges = _check_document(shown, document)
        return nx.node_link_graph(document, edges=edges)
    except OSError as error:
        raise ScenarioError(
            f"{shown}: can't be read: {error.strerror or error} (looked for {path}; the name is relative to the"
            " scenario file)"
        ) from None
    except ScenarioError:
        raise
    except (
        ET.ParseError,
        nx.NetworkXError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as bad:
        form = "node-link JSON" if is_json else "GraphML (a name ending in .json is JSON)"
        reason = f"no {bad} in a node or edge" if isinstance(bad, KeyError) else " ".join(str(bad).split())
        raise ScenarioError(f"{shown}: is no {form} that networkx reads: {reason}") from None


def _check_markup(shown: str, root: ET.Element) -> None:
    graphs = len(root.findall(".//{*}graph"))
    if graphs > 1:
        raise ScenarioError(f"{shown}: holds {graphs} graphs: keep the one that is the cluster")
    nodes = [node.get("id") for node in root.iterfind(".//{*}node")]
    _check_ends(shown, nodes, [edge.get(end) for edge in root.iterfind(".//{*}edge") for end in ("source", "target")])


def _check_document(shown: str, document: Any) -> str:
    """The key of the edges."""
    whole = document if isinstance(document, dict) else {}
    keys = [key for key in ("links", "edges") if key in whole]
    if len(keys) > 1:
        raise ScenarioError(f"{shown}: has both 'links' and 'edges': keep the one that holds the edges")
    if not keys or not isinstance(whole.get("nodes"), list) or not isinstance(whole[keys[0]], list):
        raise ScenarioError(
            f"{shown}: is no node-link JSON: it needs an object with lists 'nodes' and 'links' (or 'edges')"
        )
    for key in ("directed", "multigraph"):
        if not isinstance(whole.get(key, False), bool):
            raise ScenarioError(f"{shown}: '{key}' must be true or false, got {_cut(whole[key])}")
    nodes = _named(shown, "nodes", whole["nodes"], "id")
    edges = whole[keys[0]]
    _check_ends(shown, nodes, _named(shown, keys[0], edges, "source") + _named(shown, keys[0], edges, "target"))
    return keys[0]


def _named(shown: str, where: str, entries: Sequence[Any], key: str) -> list[Hashable]:
    names: list[Hashable] = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or key not in entry:
            raise ScenarioError(f"{shown}: entry {number} of '{where}' has no '{key}': give it one")
        names.append(_hashable(entry[key]))
    return names


def _hashable(name: Any) -> Hashable:
    """As networkx does with names that are lists, such as the coordinates of a grid."""
    return tuple(map(_hashable, name)) if isinstance(name, list) else name


def _check_ends(shown: str, nodes: Sequence[Hashable], ends: Sequence[Hashable]) -> None:
    times = Counter(nodes)
    for name, count in times.items():
        if count > 1:
            raise ScenarioError(
                f"{shown}: node {_cut(name)} is there {count} times: make one of them, or rename the others"
            )
    for name in ends:
        if name not in times:
            raise ScenarioError(
                f"{shown}: an edge ends at {_cut(name)}, which is none of the {len(nodes)} nodes: mend its name, or add"
                " the node"
            )


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN + 2 else f"{text[:_MAX_SHOWN]}..."
