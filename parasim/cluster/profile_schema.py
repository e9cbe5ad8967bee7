"""What a profile's file may hold, checked by pydantic; `parasim schema --profile` prints it as JSON Schema."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from parasim.cluster.handling import Handling
from parasim.fields import described

__all__ = ["ProfileFile", "profile_schema", "profile_schema_text"]

_Positive = Annotated[FiniteFloat, Field(gt=0)]
_NotNegative = Annotated[FiniteFloat, Field(ge=0)]


class _Part(BaseModel):
    """Unknown keys are refused, and no text is taken for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NumberFile(_Part):
    """A fitted number."""

    value: _NotNegative = Field(description="the estimate")
    low: _NotNegative = Field(description="lower end of its 90 % interval")
    high: _NotNegative = Field(description="upper end of its 90 % interval")
    count: int = Field(ge=1, description="observations that it rests on")
    unit: str = Field("", description="SI: seconds, bytes/s, FLOP/s, seconds/byte; empty for ratios")

    @model_validator(mode="after")
    def _ordered(self) -> NumberFile:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value {self.value:g} is outside of its interval, {self.low:g} to {self.high:g}")
        return self


class MeasuredFile(_Part):
    """Seconds over sizes."""

    sizes: list[_Positive] = Field(min_length=1, description="ascending: seconds of the roofline, or samples")
    seconds: list[NumberFile] = Field(min_length=1, description="measured, one for each size")

    @model_validator(mode="after")
    def _paired(self) -> MeasuredFile:
        if len(self.sizes) != len(self.seconds):
            raise ValueError(f"has {len(self.sizes)} sizes and {len(self.seconds)} numbers")
        if any(after <= before for before, after in zip(self.sizes, self.sizes[1:], strict=False)):
            raise ValueError("sizes do not ascend")
        for number in self.seconds:
            _measured_in(number, "seconds", above_zero=True)
        return self


class TransportFile(_Part):
    """One way that messages take."""

    goodput: NumberFile = Field(description="payload over nominal bandwidth of a link")
    bandwidth: NumberFile | None = Field(None, description="payload bytes/s of one actor's messages, in and out")
    latency: NumberFile | None = Field(None, description="seconds of each message besides its links' and the cores'")
    step: NumberFile | None = Field(None, description="CPU seconds of posting, hearing and starting a message, on top")
    credit: NumberFile | None = Field(None, description="share of a shaper's burst that a message saves")
    settings: dict[str, Any] = Field({}, description="what was set: shaper, congestion control, segment sizes")

    @model_validator(mode="after")
    def _units(self) -> TransportFile:
        _measured_in(self.goodput, "", above_zero=True)
        if self.bandwidth is not None:
            _measured_in(self.bandwidth, "bytes/s", above_zero=True)
        for number, unit in ((self.latency, "seconds"), (self.step, "seconds"), (self.credit, "")):
            if number is not None:
                _measured_in(number, unit)
        return self


_Parameter = str | FiniteFloat | list[FiniteFloat] | NumberFile


class ProfileFile(_Part):
    """A parasim profile: a machine, as measured."""

    parasim_profile: int = Field(description="format of the file")
    name: str = Field(min_length=1, max_length=200, description="what the machine is called")
    cores: int = Field(ge=1, le=1_000_000, description="cores of the host (of a GPU's profile: GPUs)")
    memory: _Positive = Field(description="bytes")
    flops: NumberFile = Field(description="peak of one core (of the GPU), FLOP/s")
    memory_bandwidth: NumberFile = Field(description="peak of one core (of the GPU), bytes/s")
    dtype: str = Field("float32", description="type of numbers that computing was measured in")
    kernels: dict[str, MeasuredFile] = Field({}, description="seconds over the roofline's, by kind of kernel piece")
    blocks: dict[str, MeasuredFile] = Field({}, description="seconds over samples, by signature and direction")
    contention: list[NumberFile] = Field([], description="factor while 1, 2, ... cores compute")
    handling: dict[str, NumberFile] = Field({}, description="CPU time of messages and operations, by field")
    idle: dict[str, NumberFile] = Field({}, description="those that differ where cores had nothing to do before")
    native: dict[str, NumberFile] = Field({}, description="the same inside the backend's own collectives, by field")
    transports: dict[str, TransportFile] = Field({}, description="ways that messages take, by name")
    noise: dict[str, dict[str, _Parameter]] = Field({}, description="law by what it concerns: compute, handling")
    drift: dict[str, NumberFile] = Field({}, description="spread of a factor common to a run, by what it concerns")
    joint: dict[str, list[dict[str, _NotNegative]]] = Field(
        {}, description="of handling, idle and native: values that their numbers may have together, equally likely"
    )
    validity: dict[str, tuple[FiniteFloat, FiniteFloat]] = Field({}, description="least and most that the fit covers")
    fitted_on: list[str] = Field([], description="identities of the scenario runs that it was fitted on")
    provenance: dict[str, Any] = Field({}, description="machine, versions, date, command, duration, warnings")

    @model_validator(mode="before")
    @classmethod
    def _pairs(cls, data: Any) -> Any:
        """JSON has lists where Python has tuples."""
        if isinstance(data, dict) and isinstance(data.get("validity"), dict):
            ranges = {of: tuple(ends) if isinstance(ends, list) else ends for of, ends in data["validity"].items()}
            return {**data, "validity": ranges}
        return data

    @model_validator(mode="after")
    def _together(self) -> ProfileFile:
        _measured_in(self.flops, "FLOP/s", "flops", above_zero=True)
        _measured_in(self.memory_bandwidth, "bytes/s", "memory_bandwidth", above_zero=True)
        known = described(Handling)
        for of, costs in (("handling", self.handling), ("idle", self.idle), ("native", self.native)):
            for name, number in costs.items():
                if name not in known:
                    raise ValueError(f"{of}.{name}: unknown field (there are: {', '.join(known)})")
                _measured_in(number, known[name].metadata.get("dimension", ""), f"{of}.{name}")
        for of, draws in self.joint.items():
            unknown = next((name for draw in draws for name in draw if name not in getattr(self, of, ())), None)
            if of not in ("handling", "idle", "native") or unknown is not None:
                raise ValueError(
                    f"joint.{of}: has values of {unknown or of}, which is no number of the profile's costs"
                )
        for place, number in enumerate(self.contention):
            _measured_in(number, "", f"contention.{place}", above_zero=True)
        for of, ends in self.validity.items():
            if ends[0] > ends[1]:
                raise ValueError(f"validity.{of}: {ends[0]:g} is more than {ends[1]:g}")
        for of, law in self.noise.items():
            if not isinstance(law.get("kind"), str):
                raise ValueError(f"noise.{of}: names no kind of law")
        return self


def profile_schema() -> dict[str, Any]:
    """The JSON Schema of a profile's file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ProfileFile.model_json_schema()}


def profile_schema_text() -> str:
    """What `parasim schema --profile` prints and `parasim/cluster/profile.schema.json` holds."""
    return json.dumps(profile_schema(), indent=1, ensure_ascii=False) + "\n"


def _measured_in(number: NumberFile, unit: str, of: str = "", *, above_zero: bool = False) -> None:
    """Refuse a number in another unit, or one of 0 where only more makes sense."""
    place = f"{of}: " if of else ""
    if number.unit != unit:
        raise ValueError(f"{place}unit must be {repr(unit) if unit else 'empty'}, got {number.unit!r}")
    if above_zero and number.low <= 0:
        raise ValueError(f"{place}must be above 0 over its whole interval, got {number.low:g} to {number.high:g}")
