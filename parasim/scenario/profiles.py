"""The profiles that a cluster names, and the parts of a cluster that they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path

from parasim.cluster.profile import Profile, plain
from parasim.cluster.profile_file import find_profile, load_profile
from parasim.errors import CalibrationError, ScenarioError
from parasim.scenario.check import Section, shorten, suggestion
from parasim.simulation.noise import LAWS, NoiseLaw, NoNoise

__all__ = ["PROFILE", "Profiles", "Vary", "law_of"]

PROFILE = "profile"
"""The key, of a cluster and of single hosts."""

Vary = Callable[[Profile], Profile]
"""What to take in the place of a profile, such as one drawn from its intervals."""

_MADE = "the file that calibrate wrote (my-machine.json)"


@dataclass(slots=True)
class Profiles:
    """Reads the profiles of one cluster.

    Attributes
    ----------
    vary
        Applied to each of them.
    used
        Those read so far, by the file's path.
    """

    vary: Vary | None = None
    used: dict[Path, Profile] = field(default_factory=dict)

    def read(self, section: Section) -> Profile | None:
        """The profile that a section names; None if it names none.

        Raises
        ------
        ScenarioError
            If there is no such profile, or its file is wrong.
        """
        if PROFILE not in section.data:
            return None
        name = section.data[PROFILE]
        if not isinstance(name, str) or not name.isprintable() or not name:
            raise section.error(PROFILE, f"is {shorten(name)}, no profile: name {_MADE}")
        with section.blamed(PROFILE):
            path = find_profile(name, Path(section.places.source).parent)
            if path not in self.used:
                profile = load_profile(path)
                self.used[path] = profile if self.vary is None else self.vary(profile)
        return self.used[path]


def law_of(profile: Profile, what: str) -> NoiseLaw:
    """The noise of a profile's machine in what it concerns ("compute", "handling"); none if none was measured.

    Raises
    ------
    ScenarioError
        If it is no law of `parasim.simulation.noise`, or its parameters are not that law's.
    """
    said = dict(profile.noise.get(what, {}))
    if not said:
        return NoNoise()
    kind = said.pop("kind", None)
    place = f"profile {profile.name}: noise.{what}"
    if kind not in LAWS:
        raise ScenarioError(f"{place}: unknown law {shorten(kind)}{suggestion(kind, LAWS)}")
    try:
        return LAWS[kind](**plain(said))
    except TypeError:
        takes = ", ".join(signature(LAWS[kind]).parameters) or "nothing"
        raise ScenarioError(f"{place}: {kind} takes {takes}, got {shorten(said)}: calibrate again") from None
    except (CalibrationError, ScenarioError) as error:
        raise ScenarioError(f"{place}: {error}: calibrate again") from None
