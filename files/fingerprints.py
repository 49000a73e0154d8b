"""By what an image is known again: 64 bits of a hash of its content, beside the name of that hash,
since values of different hashes say nothing about each other.
"""

import hashlib
import os
from functools import partial

import numpy as np
import xxhash

FILES = "files"  # of size and both ends of the file, see `file_fingerprint`
# what is recorded as `fingerprints_of` -> a hash with `update` and `digest`; of pixels
HASHES = {
    # of earlier versions, which took a fifth of the time of decoding for it
    "pixels": partial(hashlib.blake2b, digest_size=8),
    "pixels by xxh3": xxhash.xxh3_64,
}
ENDS = 4096  # bytes at both ends of a file that its fingerprint is made of
FIRST, NEWEST = "pixels", "pixels by xxh3"  # caches of earlier versions do not name theirs


def is_of_pixels(of: object) -> bool:
    """Whether fingerprints that are recorded with this name can be computed from pixels; False for
    those of files, and of hashes that this version does not know.
    """
    return isinstance(of, str) and of in HASHES


def pixels_fingerprint(pixels: np.ndarray, size: tuple[int, int], of: str = NEWEST) -> int:
    """64 bits of a hash of an image's original (width, height) and pixels (H, W, channels).

    Args:
        pixels: uint8.
        size: In pixels.
        of: One of HASHES.
    """
    digest = HASHES[of](b"%d %d " % size)
    digest.update(np.ascontiguousarray(pixels))
    return int.from_bytes(digest.digest(), "big")


def file_fingerprint(path: str | os.PathLike) -> int:
    """64 bits of a hash of a file's size and of the first and last 4096 bytes of its content, which
    is what can be read of a million files. Raises: OSError.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.blake2b(b"%d " % size + file.read(ENDS), digest_size=8)
        file.seek(max(size - ENDS, 0))
        digest.update(file.read(ENDS))
    return int.from_bytes(digest.digest(), "big")
