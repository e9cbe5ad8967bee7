"""Profiles as JSON files: read with every mistake named in one line, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parasim.cluster.profile import Measured, Number, Profile, Transport
from parasim.errors import CalibrationError, ScenarioError

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "FORMAT",
    "RECORDED",
    "find_profile",
    "load_profile",
    "named_from_anywhere",
    "profile_text",
    "recorded",
    "save_profile",
]

FORMAT = 1
"""Of files that this version writes, and the only one that it reads."""

RECORDED = Path(__file__).parent / "profiles"
"""Where profiles are recorded that scenarios name without a path."""

_MAX_BYTES = 64 * 2**20
_MAX_SHOWN = 60
_NAME = re.compile(r"[^/\\]+(?<!\.json)")


def find_profile(name: str, folder: str | Path) -> Path:
    """The file of a profile as scenarios name it.

    Parameters
    ----------
    name
        A path that ends in ".json", relative to the folder; or the name of a recorded profile.
    folder
        Of the scenario file.

    Raises
    ------
    ScenarioError
        If no profile is recorded under that name.
    """
    if not _NAME.fullmatch(name):
        return Path(folder, name)
    names = recorded()
    if name in names:
        return names[name]
    there = ", ".join(names) or "none"
    shown = name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}..."
    raise ScenarioError(f"no profile is recorded as {shown!r} (there are: {there}); a file's name ends in .json")


def named_from_anywhere(name: str, folder: str | Path) -> str:
    """The name of a profile that stands in a file of that folder, as it is found from any other: an absolute path."""
    return name if _NAME.fullmatch(name) else str(Path(folder, name))


def recorded() -> dict[str, Path]:
    """The recorded profiles by name."""
    return {path.stem: path for path in sorted(RECORDED.glob("*.json"))}


def load_profile(path: str | Path) -> Profile:
    """Read a profile.

    Raises
    ------
    ScenarioError
        If it can't be read or is no profile: ``file: key: what is wrong, what to do``.
    """
    from pydantic import ValidationError

    from parasim.cluster.profile_schema import ProfileFile

    source = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or error
        raise ScenarioError(f"{source}: can't be read: {why}: name the file that calibrate wrote") from None
    if len(raw) > _MAX_BYTES:
        raise ScenarioError(f"{source}: is larger than {_MAX_BYTES // 2**20} MiB, the limit for a profile: {_AGAIN}")
    data = _json(source, raw)
    version = data.get("parasim_profile")
    if version != FORMAT:
        what = "is no profile" if version is None else f"is a profile of format {str(version)[:_MAX_SHOWN]}"
        raise ScenarioError(f"{source}: parasim_profile: {what}, this version reads format {FORMAT}: {_AGAIN}")
    try:
        checked = ProfileFile.model_validate(data)
    except ValidationError as invalid:
        raise _named(source, invalid) from None
    try:
        return _profile(checked.model_dump())
    except (CalibrationError, ScenarioError) as error:
        raise ScenarioError(f"{source}: {error}") from None


def profile_text(profile: Profile) -> str:
    """What the file of a profile holds."""
    whole = {"parasim_profile": FORMAT, **_plain(asdict(profile))}
    return json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def save_profile(profile: Profile, path: str | Path) -> Path:
    """Write a profile beside `path`, then rename it: there is a whole file of that name, or the one before, or none.

    Raises
    ------
    OSError
        If the place can't be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")  # one name: what a killed process left is written over
    with temporary.open("w", encoding="utf-8") as file:
        file.write(profile_text(profile))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


_AGAIN = "calibrate again"


def _json(source: str, raw: bytes) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number")

    try:
        data = json.loads(raw.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        what = " ".join(str(error).split())[:200]
        raise ScenarioError(f"{source}: is no valid JSON: {what}: {_AGAIN}") from None
    if not isinstance(data, dict):
        raise ScenarioError(f"{source}: holds no mapping, so it is no profile: {_AGAIN}")
    return data


def _named(source: str, invalid: ValidationError) -> ScenarioError:
    """The first mistake of a file, in a line."""
    first = invalid.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"])[:200] or "profile"
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        what = "unknown key"
    elif first["type"] == "missing":
        what = "is missing"
    elif not isinstance(first["input"], Mapping):
        shown = repr(first["input"])
        what = f"{shown if len(shown) <= _MAX_SHOWN else f'{shown[:_MAX_SHOWN]}...'}: {what}"
    return ScenarioError(" ".join(f"{source}: {key}: {what}: mend it, or {_AGAIN}".split()))


def _plain(value: Any) -> Any:
    """Mappings and tuples as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _profile(data: dict[str, Any]) -> Profile:
    """The profile that checked data of a file are."""

    def measured(table: Mapping[str, Any]) -> Measured:
        return Measured(tuple(table["sizes"]), tuple(Number(**number) for number in table["seconds"]))

    def transport(way: Mapping[str, Any]) -> Transport:
        optional = (way[name] for name in ("bandwidth", "latency", "step", "credit"))
        bandwidth, latency, step, credit = (None if number is None else Number(**number) for number in optional)
        return Transport(Number(**way["goodput"]), bandwidth, latency, step, credit, way["settings"])

    def parameter(value: Any) -> Any:
        if isinstance(value, Mapping):
            return Number(**value)
        return tuple(value) if isinstance(value, list) else value

    del data["parasim_profile"]
    return Profile(
        **data
        | {
            "flops": Number(**data["flops"]),
            "memory_bandwidth": Number(**data["memory_bandwidth"]),
            "kernels": {kind: measured(table) for kind, table in data["kernels"].items()},
            "blocks": {name: measured(table) for name, table in data["blocks"].items()},
            "contention": tuple(Number(**number) for number in data["contention"]),
            "handling": {name: Number(**number) for name, number in data["handling"].items()},
            "idle": {name: Number(**number) for name, number in data["idle"].items()},
            "native": {name: Number(**number) for name, number in data["native"].items()},
            "transports": {name: transport(way) for name, way in data["transports"].items()},
            "noise": {of: {name: parameter(value) for name, value in law.items()} for of, law in data["noise"].items()},
            "drift": {of: Number(**number) for of, number in data["drift"].items()},
            "validity": {of: tuple(ends) for of, ends in data["validity"].items()},
            "joint": {of: tuple(draws) for of, draws in data["joint"].items()},
            "fitted_on": tuple(data["fitted_on"]),
        }
    )
