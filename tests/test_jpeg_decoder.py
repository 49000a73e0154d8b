"""JPEG files by torchvision's decoder: Pillow's pixels, resized with at most 1 of 255 between them;
everything else is read as ever.
"""

import io
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import train
from benchmarks import reading
from data import decoding
from data import jpeg as jpeg_module
from data.cache import build_cache
from data.decoding import read_image
from data.jpeg import plain_jpeg
from data.reading import DECODERS, Reading
from data.refusals import reason
from data.stream import Stream
from data.unlabelled import ModelInput, read_batches
from files.fingerprints import pixels_fingerprint
from options import command_line

BOX = (5, 3, 30, 20)


def picture(mode="RGB", size=(50, 37)):
    generator = np.random.default_rng(0)
    channels = len(Image.new(mode, (1, 1)).getbands())
    small = generator.integers(0, 256, (6, 8, channels), dtype=np.uint8)
    image = Image.fromarray(small[:, :, 0] if channels == 1 else small, mode=None)
    image = image if image.mode == mode else Image.frombytes(mode, (8, 6), small.tobytes())
    return image.resize(size, Image.Resampling.BICUBIC)


def save(path, image, orientation=1, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, **options)
    return path


def both(path, box=None, **how):
    return [read_image(path, Reading(decoder=decoder, **how), box) for decoder in DECODERS]


@pytest.fixture
def calls(monkeypatch):
    """How often torchvision decoded."""
    seen, original = [], decoding.decode_jpeg
    spy = lambda *a, **k: seen.append(1) or original(*a, **k)  # noqa: E731
    monkeypatch.setattr(decoding, "decode_jpeg", spy)
    return seen


class Dribble(io.FileIO):
    """A file of which a read gives little, as over a network."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:100])


def test_a_file_that_comes_in_pieces_is_read_to_its_end(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jpg", picture())

    def dribbling(path, mode, buffering=-1):
        raw = Dribble(path)
        return raw if buffering == 0 else io.BufferedReader(raw)

    monkeypatch.setattr("data.jpeg.open", dribbling, raising=False)
    assert plain_jpeg(path).content.tobytes() == path.read_bytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photographs_have_the_same_pixels(tmp_path, calls, orientation):
    path = save(tmp_path / "a.jpg", picture(), orientation)
    for how in ({}, {"box": BOX}, {"gray": True}):
        pillow, fast = both(path, **how)
        assert np.array_equal(fast.pixels, pillow.pixels) and fast[1:] == pillow[1:]
    assert len(calls) == 3


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("side", [16, 64])
def test_resized_pixels_differ_by_rounding_alone(tmp_path, calls, mode, gray, side):
    path = save(tmp_path / "a.JPEG", picture(mode), orientation=6, quality=95)
    pillow, fast = both(path, resize=side, gray=gray)
    assert fast.pixels.shape == (side, side, 1 if gray else 3) and fast.pixels.flags.c_contiguous
    gap = np.abs(fast.pixels.astype(int) - pillow.pixels)
    assert gap.max() <= 1 and gap.mean() < 0.05 and fast.size == pillow.size == (37, 50)
    assert fast.fingerprint() == pixels_fingerprint(fast.pixels, fast.size)
    assert calls


def test_what_is_no_plain_jpeg_is_read_by_pillow(tmp_path, calls):
    deep = np.arange(37 * 50, dtype=np.uint16).reshape(37, 50) * 30
    clear = picture("RGBA")
    files = {
        "plain.png": lambda path: picture().save(path),
        "deep.png": lambda path: Image.fromarray(deep).save(path),
        "clear.png": lambda path: clear.save(path),
        "inks.jpg": lambda path: picture("CMYK").save(path),
        "a png.jpg": lambda path: picture().save(path, "PNG"),
        "a jpeg.png": lambda path: picture().save(path, "JPEG"),
    }
    for name, write in files.items():
        write(tmp_path / name)
        pillow, fast = both(tmp_path / name, resize=16)
        assert np.array_equal(fast.pixels, pillow.pixels) and fast[1:] == pillow[1:], name
    path = save(tmp_path / "padded.jpg", picture())
    assert np.array_equal(*(one.pixels for one in both(path, resize=16, fit="pad")))
    assert not calls


def jpeg(mode="RGB", **options):
    content = io.BytesIO()
    picture(mode).save(content, "JPEG", **options)
    return content.getvalue()


def segment(marker, content):
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def with_byte(content, place, value):
    return content[:place] + bytes([value]) + content[place + 1 :]


def odd_heads():
    """Name -> a file, and whether its head tells all without Pillow; a frame begins with its marker
    and length, bits, height, width, and number of channels.
    """
    plain, exif = jpeg(), Image.Exif()
    frame, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")
    exif[0x0112] = 6
    turn, part = segment(0xE1, exif.tobytes()), plain[frame:][:19]
    assert part[4] == 8 and part[9] == 3
    return {
        "plain": (plain, True),
        "grey": (jpeg("L"), True),
        "progressive": (jpeg(progressive=True), True),
        "restarts": (jpeg(restart_marker_blocks=1), True),
        "comment": (jpeg(comment=b"\xff\xda" * 9), True),
        "inks": (jpeg("CMYK"), False),
        "profile": (jpeg(icc_profile=b"x" * 200), False),
        "turned": (plain[:frame] + turn + plain[frame:], False),
        "turned behind the frame": (plain[:scan] + turn + plain[scan:], False),
        "adobe": (plain[:frame] + segment(0xEE, b"Adobe\0d\0\0\0\0\1") + plain[frame:], False),
        "filled": (plain[:frame] + b"\xff\xff" + plain[frame:], False),
        "12 bits": (with_byte(plain, frame + 4, 12), False),
        "two channels": (with_byte(plain, frame + 9, 2), False),
        "no height": (plain[: frame + 5] + b"\0\0" + plain[frame + 7 :], False),
        "huge": (plain[: frame + 5] + b"\xff\xff\xff\xff" + plain[frame + 9 :], True),
        "lossless": (with_byte(plain, frame + 1, 0xC3), False),
        "two frames": (plain[:frame] + part + plain[frame:], False),
        "no frame": (plain[:frame] + plain[frame + 19 :], False),
        "junk": (plain[:frame] + b"\0\0" + plain[frame:], False),
        "past the end": (plain[:frame] + b"\xff\xfe\xff\xff" + plain[frame:], None),
        "ends in its head": (plain[: frame + 3], None),
        "ends in the image": (plain[:-500], True),
    }


@pytest.mark.parametrize("name", odd_heads())
def test_odd_heads_are_read_as_pillow_reads_them(tmp_path, name):
    content, without_pillow = odd_heads()[name]
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    if without_pillow is not None:
        try:
            found = plain_jpeg(path)
        except Exception:  # as Pillow refuses some of them
            found = None
        assert (found is not None and found.head is None) == without_pillow
    answers = []
    for decoder in DECODERS:
        try:
            image = read_image(path, Reading(decoder=decoder))
            answers.append((image.pixels.tobytes(), image[1:]))
        except ValueError as error:
            answers.append(str(error))
    assert answers[0] == answers[1]


def test_damaged_files_are_refused_in_the_same_words(tmp_path):
    content = io.BytesIO()
    picture(size=(300, 200)).save(content, "JPEG")
    (tmp_path / "early.jpg").write_bytes(content.getvalue()[:-2000])
    (tmp_path / "no image.jpg").write_bytes(b"\xff\xd8\xff" + bytes(500))
    (tmp_path / "empty.jpg").write_bytes(b"")
    for path in sorted(tmp_path.iterdir()):
        said = []
        for decoder in DECODERS:
            with pytest.raises(ValueError) as error:
                read_image(path, Reading(decoder=decoder))
            said.append(str(error.value))
        assert said[0] == said[1], path
    pillow, fast = both(tmp_path / "early.jpg", resize=16, truncated_images="use")
    assert fast.truncated and np.array_equal(fast.pixels, pillow.pixels)
    with pytest.raises(ValueError, match="has nothing of the image"):
        read_image(
            save(tmp_path / "a.jpg", picture()), Reading(decoder="torchvision"), (90, 0, 5, 5)
        )


def test_cache_stream_and_predicting_share_the_decoder(tmp_path, calls):
    files = ["a.jpg", "b.jpg"]
    for place, name in enumerate(files):
        save(tmp_path / name, picture(size=(50 + place, 37)))
    reading = Reading(resize=24, decoder="torchvision")
    cache = build_cache(tmp_path, files, reading)
    assert len(calls) == 2
    stream = Stream(tmp_path, files, reading)
    assert np.array_equal(stream[:], cache.pixels[:]) and len(calls) == 4
    paths = [str(tmp_path / name) for name in files]
    of = cache.fingerprints_of
    (batch,) = read_batches(paths, ModelInput(reading), 5, fingerprints=[of])
    assert np.array_equal(batch.pixels, cache.pixels[:]) and len(calls) == 6
    assert np.array_equal(batch.fingerprints[of], cache.fingerprints)
    usual = build_cache(tmp_path, files, Reading(resize=24))
    assert usual.folder != cache.folder and len(calls) == 6
    assert build_cache(tmp_path, files, Reading(resize=24, decoder="pillow")).folder == usual.folder


@pytest.fixture
def fresh_decoder():
    """Has the decoder chosen again, and once more afterwards."""
    jpeg_module._decoder.cache_clear()
    yield
    jpeg_module._decoder.cache_clear()


def refuse(*_):
    raise RuntimeError("decode_jpeg: torchvision not compiled with libjpeg support")


def other_pixels(content):
    return jpeg_module._by_pillow(content) ^ 1


@pytest.mark.parametrize("broken", [None, refuse, other_pixels])
def test_the_pixels_are_the_same_without_torchvisions_decoder(
    tmp_path, monkeypatch, fresh_decoder, broken
):
    """Also after resizing, which is torch's: where it is gone, there in name alone, or other."""
    ways = [
        {},
        {"resize": 16},
        {"resize": (20, 9), "gray": True},
        {"box": BOX, "resize": 24},
    ]
    files = [
        save(tmp_path / f"{mode}{turn}.jpg", picture(mode), turn)
        for mode in ("L", "RGB")
        for turn in (1, 6)
    ]
    fast = [read(path, **how) for path in files for how in ways]
    assert jpeg_module._decoder() is jpeg_module._by_torchvision
    jpeg_module._decoder.cache_clear()
    if broken is None:
        monkeypatch.setattr("torch.ops", SimpleNamespace())
    else:
        monkeypatch.setattr(jpeg_module, "_by_torchvision", broken)
    slow = [read(path, **how) for path in files for how in ways]
    assert jpeg_module._decoder() is jpeg_module._by_pillow
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(fast, slow))
    assert [one._replace(pixels=None) for one in fast] == [
        one._replace(pixels=None) for one in slow
    ]


def read(path, box=None, **how):
    return read_image(path, Reading(decoder="torchvision", **how), box)


def test_torchvisions_announcement_neither_reaches_a_user_nor_changes_pixels(
    tmp_path, fresh_decoder
):
    """It warns at each image, and as an error a warning would have Pillow resize the image."""
    path = save(tmp_path / "a.jpg", picture(size=(90, 60)))
    expected = read(path, resize=16).pixels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jpeg_module._decoder.cache_clear()
        assert np.array_equal(read(path, resize=16).pixels, expected)
        assert jpeg_module._decoder() is jpeg_module._by_torchvision


def test_memory_that_does_not_suffice_is_no_damage(tmp_path, monkeypatch):
    """Pillow would resize the image in its own way."""

    def fail(*_, **__):
        raise MemoryError

    path = save(tmp_path / "a.jpg", picture())
    monkeypatch.setattr(decoding, "decode_jpeg", fail)
    with pytest.raises(ValueError) as error:
        read(path)
    assert reason(error.value) == "for now: there was not enough memory"


def test_the_decoder_is_recorded_where_it_is_not_that_of_earlier_runs():
    argv = ["--dataset", "folder", "--data_dir", "none", "--method", "DR", "--backbone", "conv4"]
    usual, _, folder = command_line.parse(argv, "", train.DATASETS)
    named, _, same = command_line.parse([*argv, "--decoder", "pillow"], "", train.DATASETS)
    fast, _, other = command_line.parse([*argv, "--decoder", "torchvision"], "", train.DATASETS)
    assert usual["decoder"] is named["decoder"] is None and fast["decoder"] == "torchvision"
    assert folder == same != other and "decoder=torchvision" in str(other)
    with pytest.raises(SystemExit):
        command_line.parse([*argv, "--decoder", "torchvision", "--fit", "pad"], "", train.DATASETS)


@pytest.mark.filterwarnings("ignore:The image decoding")  # announced in torchvision 0.29 to go
def test_the_benchmark_of_reading_has_a_row_for_each_way(capsys):
    assert reading.main("--images 12 --rounds 1 --side 32".split()) in (0, 1)
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()[2:7]]
    assert rows == ["bare Pillow", "bare torchvision", "stream", "cache", "predicting"]
