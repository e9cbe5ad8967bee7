"""Users' own code: a function named "package.module:function" that makes a module to be read.

Such code runs only where it was allowed. It is imported from the scenario file's folder if it is there, else from where
Python looks; modules found in the folder are forgotten afterwards, so that files of the same name in the folders of two
scenarios do not mix. What the code prints goes to the standard error output.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from parasim.errors import ScenarioError
from parasim.program.model import Layer
from parasim.workload.data import DataSpec
from parasim.workload.model_options import Module
from parasim.workload.modules import read_module

__all__ = ["factory_layers"]

_MAX_SHOWN = 300


def factory_layers(options: Module, data: DataSpec | None, folder: Path | None) -> tuple[Layer, ...]:
    """Layers of the module that a factory makes (`parasim.workload.modules`).

    Parameters
    ----------
    options
        Names the factory and its inputs; without `input`, a sample has the data's shape.
    data
        What the module must fit, if not None.
    folder
        Where the scenario file is; None: running code was not allowed.

    Raises
    ------
    ScenarioError
        If code is not allowed, the factory can't be imported or fails, or its module can't be read or fits not the
        data; one line that names the factory and its file.
    """
    if folder is None:
        raise ScenarioError(
            f"model module runs the code of {options.factory}; if you trust it, allow it: --allow-code on the command "
            "line, allow_code=True in parasim.load"
        )
    shape = options.input or (data.input_shape if data else ())
    if not shape:
        raise ScenarioError("model module: input is missing; write the shape of one sample, as in input: [3, 224, 224]")
    where = options.factory
    hint = "its module is looked for in the scenario's folder, then where Python looks"

    def make() -> object:
        nonlocal hint
        hint = "it is called with what stands under arguments: {NAME: VALUE}"
        module = function(**options.arguments)
        hint = f"it runs on one tensor, a batch of inputs of shape {list(shape)}, on the meta device: without values"
        return module

    try:
        with _imports_from(folder), contextlib.redirect_stdout(sys.stderr):
            function, file = _find(options.factory)
            where = f"{options.factory} ({file})"
            layers = read_module(make, shape, options.input_dtype)
    except ScenarioError as error:
        raise ScenarioError(f"model module: {where} {error}") from None
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split()) or "no message"
        text = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
        raise ScenarioError(f"model module: {where} failed: {type(error).__name__}: {text} ({hint})") from None
    if data is not None:
        ends = layers[0].input_elements, layers[-1].output_elements
        if ends != (data.input_elements, data.output_elements):
            raise ScenarioError(
                f"model module: {where} takes {ends[0]} and gives {ends[1]} elements, but data {data.name} have "
                f"{data.input_elements} and {data.output_elements}; make them equal or leave the data out"
            )
    return layers


def _find(factory: str) -> tuple[Callable[..., Any], str]:
    """The function, and the file of its module."""
    module_name, _, name = factory.partition(":")
    if not module_name or not name:
        raise ScenarioError("is no factory; write package.module:function")
    module = importlib.import_module(module_name)
    file = getattr(module, "__file__", None) or "built in"
    function = getattr(module, name, None)
    if not callable(function):
        raise ScenarioError(f"is not there: {file} has no function {name!r}")
    return function, file


@contextlib.contextmanager
def _imports_from(folder: Path) -> Iterator[None]:
    """Look for modules in the folder first, and forget those found there."""
    place = str(folder.resolve())
    before = set(sys.modules)
    importlib.invalidate_caches()
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and file.startswith(place + os.sep):
                del sys.modules[name]
