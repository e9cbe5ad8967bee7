"""Clusters on their own: those of a scenario file, or one of a kind: `parasim topologies torus dimensions=[4,4]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parasim.cluster.topologies import TOPOLOGIES
from parasim.errors import ScenarioError
from parasim.fields import described
from parasim.scenario.check import Section, suggestion
from parasim.scenario.cluster import CLUSTER_KEYS, read_cluster
from parasim.scenario.documents import read_documents
from parasim.scenario.load import TOP_LEVEL
from parasim.scenario.model import ClusterSpec
from parasim.scenario.overrides import apply_overrides, read_override
from parasim.scenario.reader import Places, Tree

__all__ = ["named_clusters", "sketch_cluster"]

_SKETCHED = {
    "link": {"bandwidth": "10 Gbit/s", "latency": "1 us"},
    "device": {"flops": "1 TFLOP/s", "memory": "16 GiB", "memory_bandwidth": "100 GB/s"},
}
"""What is taken where nothing is said."""

_SEEN = ("profile", "transport", "topology", "host", "device", "link", "routing", "hosts", "links")
"""Keys of a cluster that can be seen in its list and picture."""


def named_clusters(
    file_or_kind: str, words: Sequence[str], variant: str | None = None
) -> list[tuple[str, ClusterSpec]]:
    """Clusters with their names: of every variant of a file (equal ones once), or of one kind of topology.

    Of a file, nothing but its clusters and the names of its sections is checked.

    Raises
    ------
    ScenarioError
        If there is no such file and no such kind, or something in it is wrong.
    """
    if file_or_kind in TOPOLOGIES and not Path(file_or_kind).exists():
        if variant is not None:
            raise ScenarioError(f"--variant {variant}: '{file_or_kind}' is a kind of topology and has no variants")
        return [(file_or_kind, sketch_cluster(file_or_kind, words))]
    if not Path(file_or_kind).exists():
        hint = suggestion(file_or_kind, TOPOLOGIES)
        raise ScenarioError(f"{file_or_kind}: neither a scenario file nor a kind of topology{hint}")
    read = [read_override(word) for word in words]
    names: dict[str, list[str]] = {}
    clusters: dict[str, ClusterSpec] = {}
    for name, tree in read_documents(file_or_kind, variant).variants.items():
        whole = apply_overrides(tree, read)
        top = Section(whole.data, (), whole.places)
        top.only(TOP_LEVEL)
        workload = top.data.get("workload")
        dtype = workload.get("dtype") if isinstance(workload, dict) else None
        section = top.section("cluster", example="{topology: {kind: star, hosts: 8}, device: ..., link: ...}")
        looks = repr([section.data.get(key) for key in _SEEN])
        if looks not in clusters:
            clusters[looks] = read_cluster(section, dtype if isinstance(dtype, str) else "float32")
        names.setdefault(looks, []).append(name or str(top.data.get("name", Path(file_or_kind).stem)))
    return [(", ".join(names[looks]), cluster) for looks, cluster in clusters.items()]


def sketch_cluster(kind: str, words: Sequence[str]) -> ClusterSpec:
    """The cluster of a topology of this kind.

    Parameters
    ----------
    kind
        Of the topology.
    words
        "dimensions=[4,4]": options of the topology; else "link.bandwidth=1 Gbit/s", keys of the cluster.

    Raises
    ------
    ScenarioError
        If an option is wrong or missing.
    """
    options = described(TOPOLOGIES[kind])
    overrides = []
    for word in words:
        read = read_override(word)
        if read.path[0] == "kind" or read.path[:2] == ("topology", "kind"):
            raise ScenarioError(f"{read.place}: the kind is '{kind}': name another one instead of it")
        of_cluster = read.path[0] in CLUSTER_KEYS and (len(read.path) > 1 or read.path[0] not in options)
        start = ("cluster",) if of_cluster else ("cluster", "topology")
        overrides.append(read._replace(path=(*start, *read.path)))
    document = {"cluster": {"topology": {"kind": kind}, **{key: dict(value) for key, value in _SKETCHED.items()}}}
    tree = apply_overrides(Tree(document, Places(f"topology '{kind}'", {}, {})), overrides)
    return read_cluster(Section(tree.data, (), tree.places).section("cluster"))
