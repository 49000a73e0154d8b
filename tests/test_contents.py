"""Image files in memory are read as files on a disk are."""

import numpy as np
import pytest
from images import draw
from PIL import Image
from tiff_files import tiff

from data.contents import FileContent
from data.decoding import read_image
from data.reading import Reading
from data.unlabelled import ModelInput, read_batches
from files.fingerprints import HASHES


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Of the kinds that the reader takes different ways for, damaged ones among them."""
    root = tmp_path_factory.mktemp("files")
    draw(root / "colour.jpg", (30, 20))
    turned = Image.Exif()
    turned[0x0112] = 6
    draw(root / "turned.jpg", (20, 9), seed=9, exif=turned)
    content = (root / "colour.jpg").read_bytes()
    (root / "half.jpg").write_bytes(content[: len(content) // 2])
    draw(root / "clear.png", (8, 9), "RGBA")
    deep = np.random.default_rng(5).integers(0, 65536, (9, 14), dtype=np.uint16)
    Image.fromarray(deep).save(root / "deep.png")
    whole = deep.astype(np.int64)[:, :, None]
    (root / "deep.tif").write_bytes(tiff(whole, photometric=1, bits=16))
    colours = np.concatenate([whole, whole // 2, whole // 3], axis=2)
    (root / "colours.tif").write_bytes(tiff(colours, photometric=2, bits=16, separate=True))
    content = (root / "clear.png").read_bytes()
    # a text whose checksum is wrong, which stops Pillow
    (root / "note.png").write_bytes(content[:33] + b"\0\0\0\4tEXta\0bcxxxx" + content[33:])
    (root / "page.png").write_bytes(b"<html>no image</html>")
    (root / "empty.png").write_bytes(b"")
    return sorted(root.iterdir())


@pytest.mark.parametrize(
    "reading, box",
    [
        (Reading(resize=12, gray=True), None),
        (Reading(resize=(9, 5), grey_range=4095, truncated_images="use"), None),
        (Reading(resize=12, fit="pad"), (1, 1, 6, 6)),
        (Reading(resize=12, decoder="torchvision"), None),
    ],
)
def test_a_file_in_memory_is_read_as_on_a_disk(files, reading, box):
    kinds = set()
    for file in files:
        found = []
        for one in (file, FileContent(file.name, file.read_bytes())):
            try:
                found.append(read_image(one, reading, box))
            except ValueError as error:
                found.append(str(error))
        kinds.add(type(found[0]))
        if isinstance(found[0], str):
            assert found[1] == found[0], file
        else:
            np.testing.assert_array_equal(found[1].pixels, found[0].pixels, err_msg=str(file))
            assert found[1][1:] == found[0][1:], file
    assert len(kinds) == 2  # some are read, some are not


def test_a_batch_of_them_goes_by_their_names(files):
    contents = [FileContent(f"sent {file.name}", file.read_bytes()) for file in files]
    (sent,) = read_batches(contents, ModelInput(Reading(resize=6)), 64, fingerprints=HASHES)
    (read,) = read_batches(
        [str(file) for file in files], ModelInput(Reading(resize=6)), 64, fingerprints=HASHES
    )
    assert sent.files == [f"sent {file.name}" for file in files]
    assert sent.errors == read.errors and any(sent.errors)
    np.testing.assert_array_equal(sent.pixels, read.pixels)
    assert sent.fingerprints.keys() == read.fingerprints.keys() == HASHES.keys()
    for of in HASHES:
        np.testing.assert_array_equal(sent.fingerprints[of], read.fingerprints[of])
