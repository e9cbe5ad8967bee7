"""How pytest-xdist hands tests out: hooks that tests/conftest.py takes up.

Groups are told beside the names of tests, not within them as pytest-xdist 3.8 would: from pytest 9.2 on, names stay.
"""

import collections
import functools
import json
import tempfile
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist says that all is collected: the groups are read then
def pytest_collection_finish(session):
    """Writes down which test is of which group, if there is somebody who hands tests out.

    Tests with real processes are one group, so that one warm pool of ranks serves them all.
    """
    path = getattr(session.config, "workerinput", {}).get("groups")
    if path is None:  # all tests run in this process
        return
    groups = {}
    for item in session.items:
        if mark := item.get_closest_marker("xdist_group"):
            groups[item.nodeid] = mark.args[0]
        elif item.get_closest_marker("real"):
            groups[item.nodeid] = "real"
    Path(path).write_text(json.dumps(groups))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tells a worker of pytest-xdist where to write its groups."""
    folder = tempfile.TemporaryDirectory()
    node.config.add_cleanup(folder.cleanup)
    node.workerinput["groups"] = str(Path(folder.name) / "groups.json")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Groups as they are marked, and all other tests some at a time.

    One at a time, ten thousand tests cost a minute: whenever one ends, xdist counts through all that it has handed out.
    """
    from xdist.scheduler import LoadScopeScheduling

    class InPieces(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return self.pieces[nodeid]

        @functools.cached_property
        def pieces(self):
            """Of each test, its group; or its file and which eight of the file it is among."""
            seen = collections.Counter()
            pieces = {}
            node, collection = next(iter(self.registered_collections.items()))
            groups = json.loads(Path(node.workerinput["groups"]).read_text())
            for nodeid in collection:
                file = nodeid.split("::")[0]
                if nodeid in groups:
                    pieces[nodeid] = groups[nodeid]
                else:
                    pieces[nodeid] = f"{file} {seen[file] // 8}"
                    seen[file] += 1
            return pieces

    return InPieces(config, log) if config.getvalue("dist") == "loadgroup" else None
