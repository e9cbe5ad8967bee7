"""What enters and leaves a network of the zoo: the paper's sizes, those of the options, or those of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parasim.errors import ScenarioError
from parasim.program.scheme import option
from parasim.workload.blocks import Network
from parasim.workload.data import DataSpec
from parasim.workload.operators import Operator, Shape
from parasim.workload.unit import Unit

__all__ = ["Images", "Tokens", "chain", "image_ends", "token_ends"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Sizes of a network on images."""

    size: int = option(0, "rows and columns of an image (0: the data's, or else the paper's)", ge=0, le=65_536)
    channels: int = option(0, "channels of an image (0: the data's, or else the paper's)", ge=0, le=65_536)
    classes: int = option(0, "classes to tell apart (0: the data's, or else the paper's)", ge=0, le=10_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Sizes of a network on sequences of tokens."""

    sequence: int = option(0, "tokens of a sample (0: the data's, or else the paper's)", ge=0, le=100_000_000)
    vocabulary: int = option(0, "kinds of tokens (0: the data's, or else the paper's)", ge=0, le=100_000_000)


def image_ends(model: str, options: Images, paper: Shape, classes: int, data: DataSpec | None) -> tuple[Shape, int]:
    """Shape of the images and number of classes.

    Parameters
    ----------
    model
        Its kind, for errors.
    paper, classes
        Shape and number in the paper.

    Raises
    ------
    ScenarioError
        If the data are no images, or an option contradicts them.
    """
    if data is None:
        sizes = (options.channels or paper[0], options.size or paper[1], options.size or paper[2])
        return sizes, options.classes or classes
    shape = data.input_shape
    if len(shape) == 1 and data.kind != "tokens":  # a vector is a square grey image, if it can be
        side = math.isqrt(shape[0])
        shape = (1, side, side)
    if data.kind in ("quadratic", "tokens") or math.prod(shape) != data.input_elements:
        raise ScenarioError(
            f"model {model} takes images (channels x rows x columns), data {data.name} are none; "
            "use data of images, or model mlp"
        )
    channels, rows, columns = shape
    _agree(model, data, "channels", options.channels, channels)
    _agree(model, data, "size", options.size, rows)
    _agree(model, data, "size", options.size, columns)
    _agree(model, data, "classes", options.classes, data.outputs)
    return (channels, rows, columns), data.outputs


def token_ends(model: str, options: Tokens, sequence: int, vocabulary: int, data: DataSpec | None) -> tuple[int, int]:
    """Tokens of a sample and their kinds; `sequence` and `vocabulary` are the paper's.

    Raises
    ------
    ScenarioError
        If the data are no tokens, or an option contradicts them.
    """
    if data is None:
        return options.sequence or sequence, options.vocabulary or vocabulary
    if data.kind != "tokens":
        raise ScenarioError(
            f"model {model} takes sequences of tokens, data {data.name} are none; use data of tokens, or model mlp"
        )
    _agree(model, data, "sequence", options.sequence, data.input_shape[0])
    _agree(model, data, "vocabulary", options.vocabulary, data.outputs)
    return data.input_shape[0], data.outputs


def _agree(model: str, data: DataSpec, name: str, given: int, has: int) -> None:
    if given not in (0, has):
        raise ScenarioError(
            f"model {model}: {name} is {given}, but data {data.name} have {has}; leave {name} or the data out"
        )


def chain(name: str, entering: Shape, links: list[tuple[str, tuple[Operator, ...]]]) -> Network:
    """Units one after the other, each given by its name and operators.

    Raises
    ------
    ScenarioError
        If an operator can't take what it is given; the message names model and unit.
    """
    units: list[Unit] = []
    for label, operators in links:
        unit = Unit(label, entering, operators)
        try:
            entering = unit.cost.outputs
        except ScenarioError as error:
            raise ScenarioError(f"model {name}: {label}: {error}") from None
        units.append(unit)
    return Network(name, tuple(units), "linear", "standard")
