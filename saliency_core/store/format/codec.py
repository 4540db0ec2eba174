"""Arrays of numbers as small blobs."""

from __future__ import annotations

import zlib

import numpy as np

from saliency_core.errors import UserError

_KINDS = [
    np.dtype(name) for name in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<i8", "<f2", "<f4", "<f8")
]
"""Of an array, by the code that its blob begins with."""
_INTEGERS = {kind: np.iinfo(kind) for kind in _KINDS[:7]}


class Damaged(UserError):
    """What a block of the file holds can't be what was written there."""

    def __init__(self) -> None:
        """Say so; who knows the file names it."""
        super().__init__("The file is damaged; restore a copy or audit again.")


def pack(array: np.ndarray, *, compress: bool = True) -> bytes:
    """Return dtype code, whether compressed, data as bytes; integers in the least width."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind in "iub":
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        kind = next(kind for kind, own in _INTEGERS.items() if own.min <= low and high <= own.max)
        array = array.astype(kind)
    data = array.tobytes()
    if compress:
        data = zlib.compress(data, 6)
    return bytes([_KINDS.index(array.dtype), compress]) + data


def unpack(blob: bytes) -> np.ndarray:
    """Return the flat array of `pack`.

    Raises:
        Damaged: the blob is none.
    """
    try:
        dtype = _KINDS[blob[0]]
        if blob[1]:
            return np.frombuffer(zlib.decompress(memoryview(blob)[2:]), dtype)
        return np.frombuffer(blob, dtype, offset=2)
    except (LookupError, ValueError, zlib.error) as error:
        raise Damaged from error


def unpack_bits(blob: bytes, count: int) -> np.ndarray:
    """Return (count,) bool."""
    return np.unpackbits(np.frombuffer(blob, np.uint8), count=count).view(bool)
