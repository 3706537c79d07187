"""Arrays, images, pickles (refused) and bytes of no known format."""

from __future__ import annotations

import zipfile
from typing import Any

from cloche_kernel.loading import delimited, wording, zips
from cloche_kernel.loading.contract import File, LoadError, Session, Value

#: what can read a binary file whose content load does not know, by extension
_READERS = {
    ".dta": "pd.read_stata",
    ".sas7bdat": "pd.read_sas",
    ".xpt": "pd.read_sas",
    ".mat": "scipy.io.loadmat",
    ".wav": "scipy.io.wavfile.read",
    ".orc": "pd.read_orc",
}
_BYTES_RATIO = 1.1


def load(file: File, kind: str, session: Session) -> Value:
    """The value of a binary file."""
    if kind == "npy":
        return _array(file, session)
    if kind == "npz":
        return _arrays(file, session)
    if kind == "image":
        return _image(file, session)
    if kind == "pickle":
        raise LoadError(
            f"{wording.clean(file.label)} is a pickle: reading it runs the code inside, so load does not.",
            f"If you trust it, do it in a cell: import pickle; pickle.load(open({file.origin!r}, 'rb')).",
        )
    if file.size * _BYTES_RATIO > session.room():
        raise delimited.does_not_fit(file, int(file.size * _BYTES_RATIO), session)
    with open(file.path, "rb") as raw:
        data = raw.read()
    details = [f"begins: {data[:32].hex(' ')}"] if data else []
    reader = next((name for extension, name in _READERS.items() if file.label.lower().endswith(extension)), None)
    notes = [f"{reader}({file.origin!r}) reads such files"] if reader else []
    return Value(data, f"bytes, {wording.size(len(data))}", [], notes, details)


def _array(file: File, session: Session) -> Value:
    """A numpy array; one that does not fit stays in its file, as a memory map."""
    import numpy

    mapped = file.size > session.room()
    try:
        array = numpy.load(file.path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except ValueError as error:
        raise _unreadable(file, error) from error
    notes = []
    if mapped:
        if file.path != file.origin:
            session.scratch.keep(file.path)
        notes.append(
            "it would not fit into half of the free memory, so it is a read-only memory map: slice it, then copy"
        )
    return Value(array, _shape(array), [], notes, _range(array, mapped))


def _arrays(file: File, session: Session) -> Value:
    """A dict of numpy arrays."""
    import numpy

    label = wording.clean(file.label)
    with zips.directory(file) as archive:
        total = zips.refuse_sizes(archive, label)
    if total > session.room():
        raise delimited.does_not_fit(file, total, session)
    try:
        with numpy.load(file.path, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise _unreadable(file, error) from error
    lines = [f"  {wording.show(name)}: {_shape(array)}" for name, array in list(arrays.items())[:60]]
    return Value(arrays, f"dict of {wording.plural(len(arrays), 'numpy array')}", [], [], lines)


def _unreadable(file: File, error: Exception) -> LoadError:
    if "allow_pickle" in str(error):
        return LoadError(
            f"{wording.clean(file.label)} holds Python objects, which are pickles: reading them runs the code inside.",
            f"If you trust it, do it in a cell: numpy.load({file.origin!r}, allow_pickle=True).",
        )
    return LoadError(
        f"{wording.clean(file.label)} could not be read as a numpy array: {wording.reason(error, 150)}.",
        "Check that the file is whole.",
    )


def _shape(array: Any) -> str:
    return f"numpy array, shape {array.shape}, {array.dtype}, {wording.size(array.nbytes)}"


def _range(array: Any, mapped: bool) -> list[str]:
    if mapped or array.size == 0 or array.dtype.kind not in "iuf":
        return []
    import numpy

    finite = array[numpy.isfinite(array)] if array.dtype.kind == "f" else array
    if not finite.size:
        return ["values: none finite"]
    odd = array.size - finite.size
    tail = f", {odd:,} not finite" if odd else ""
    return [f"values: {wording.number(finite.min().item())} … {wording.number(finite.max().item())}{tail}"]


def _image(file: File, session: Session) -> Value:
    """A PIL image, decoded."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file.path) as opened:
                width, height = opened.size
                expected = width * height * 4
                if expected > session.room():
                    raise delimited.does_not_fit(file, expected, session)
                frames = getattr(opened, "n_frames", 1)
                opened.load()
                image = opened.copy()
                kind = opened.format
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise LoadError(
            f"{wording.clean(file.label)} could not be read as an image: {wording.reason(error, 150)}.",
            'Load it with format: "binary" to look at its bytes.',
        ) from error
    notes = [f"only the first of {frames:,} frames"] if frames > 1 else []
    return Value(image, f"PIL image, {width} × {height}, {image.mode}", [str(kind)], notes, [])
