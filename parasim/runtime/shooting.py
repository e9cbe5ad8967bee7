"""Snapshots of the model, taken at moments at which no compute changes what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parasim.program.snapshots import Camera

if TYPE_CHECKING:
    from parasim.runtime.actor import Actor

__all__ = ["camera_of", "shoot"]


def camera_of(actor: Actor) -> Camera | None:
    """The camera that watches an actor, ready to be used; None if none does."""
    camera = actor.context.watcher
    if not isinstance(camera, Camera):
        return None
    camera.shutter = lambda: shoot(actor, actor.port.now())
    if camera.vector:
        vector = actor.context.shared(camera.vector)
        camera.shared = lambda: actor.port.vector(vector).load(0, vector.elements)
    return camera


def shoot(actor: Actor, seconds: float) -> None:
    """Take the snapshot that is due, unless a compute is changing what it shows: then it is tried again at its end."""
    camera = actor.camera
    assert camera is not None
    if not any(actor.guard.changing(buffer) for buffer in camera.shown()):
        camera.shoot(seconds)
