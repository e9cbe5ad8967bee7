"""Data on the local disk: which files there are, found without reading images; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

from parasim.errors import ScenarioError

__all__ = ["CIFAR_PIXELS", "CIFAR_RECORD", "cifar_files", "cifar_records", "image_files", "local_path"]

CIFAR_PIXELS = 3 * 32 * 32
CIFAR_RECORD = 1 + CIFAR_PIXELS
"""Bytes of an image in the binary version of CIFAR-10: its label, then all red, all green and all blue pixels."""

_CIFAR_SOURCE = "cifar-10-binary.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html"
_MAX_PATH = 500
_PICTURES = (".jpeg", ".jpg", ".png")


def local_path(kind: str, path: str) -> Path:
    """The path of data of a kind; `ScenarioError` if it is too long or has characters that no path should have."""
    if len(path) > _MAX_PATH:
        raise ScenarioError(f"data {kind}: a path of {len(path)} characters is too long; the limit is {_MAX_PATH}")
    if not path.isprintable():
        raise ScenarioError(f"data {kind}: path {path!r} has characters that can't be printed; rename it")
    return Path(path)


def cifar_files(path: str) -> tuple[tuple[Path, ...], Path]:
    """Training files and the test file of a folder with the binary version of CIFAR-10.

    Raises
    ------
    ScenarioError
        If `path` is no such folder.
    """
    folder = _folder("cifar10", path, f"of the binary version ({_CIFAR_SOURCE}, unpacked)")
    training = tuple(sorted(folder.glob("data_batch_*.bin")))
    test = folder / "test_batch.bin"
    if not training and any((folder / name).exists() for name in ("data_batch_1", "batches.meta")):
        raise ScenarioError(
            f"data cifar10: {folder} holds the Python version, which is pickled code and is not opened; "
            f"use the binary version ({_CIFAR_SOURCE})"
        )
    if not training or not test.is_file():
        raise ScenarioError(
            f"data cifar10: {folder} has no {'test_batch.bin' if training else 'data_batch_1.bin'}; "
            f"unpack the binary version ({_CIFAR_SOURCE}) and give its folder"
        )
    return training, test


def cifar_records(file: Path) -> int:
    """Number of images in a file of CIFAR-10.

    Raises
    ------
    ScenarioError
        If its size is no multiple of that of an image.
    """
    size = file.stat().st_size
    if not size or size % CIFAR_RECORD:
        raise ScenarioError(
            f"data cifar10: {file} has {size} bytes, no multiple of the {CIFAR_RECORD} of an image; unpack it again"
        )
    return size // CIFAR_RECORD


def image_files(path: str) -> tuple[tuple[str, ...], tuple[tuple[Path, int], ...]]:
    """Classes, in order of names, and every image with the number of its class, class by class in order of names.

    Hidden files and folders (".name") are not looked at.

    Raises
    ------
    ScenarioError
        If `path` is no folder of at least two classes, a class has no image, or a file is no PNG or JPEG by its name.
    """
    folder = _folder("image_folder", path, "with a sub-folder of images per class")
    entries = _visible(folder)
    for entry in entries:
        if entry.suffix.lower() in _PICTURES and entry.is_file():
            raise ScenarioError(f"data image_folder: {entry} is in no class; move it into a sub-folder of {folder}")
    classes = [entry for entry in entries if entry.is_dir()]
    if len(classes) < 2:
        raise ScenarioError(
            f"data image_folder: {folder} has {len(classes)} sub-folders; it needs one per class, two or more"
        )
    images: list[tuple[Path, int]] = []
    for label, place in enumerate(classes):
        files = _visible(place)
        for file in files:
            if file.suffix.lower() not in _PICTURES:
                raise ScenarioError(f"data image_folder: {file} is neither PNG nor JPEG; take it out of the folder")
        if not files:
            raise ScenarioError(f"data image_folder: {place} has no images; add some or remove the folder")
        images += [(file, label) for file in files]
    return tuple(place.name for place in classes), tuple(images)


def _folder(kind: str, path: str, meaning: str) -> Path:
    if not path:
        raise ScenarioError(f"data {kind}: path is missing; write path: FOLDER, the folder {meaning}")
    folder = local_path(kind, path)
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise ScenarioError(
            f"data {kind}: {folder} can't be read ({error.strerror}); give the folder {meaning}, "
            "its path from the root or relative to the scenario file"
        ) from None
    return folder


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
