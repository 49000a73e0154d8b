"""Files from others: what they ask to be run is not run, and a forged one is an error, not a
crash.
"""

import os
import pickle
import stat
import zipfile

import numpy as np
import pytest
import torch

from data import download
from files.pickles import load_arrays
from models.weights_file import read_weights
from runs.folder import FORMAT, Run, RunError

ADDRESS = b"A" * 8  # where a forged array of pointers points


class Executed:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class Forged:
    """Pickles as a call, with a state to set on what it returns."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


CORE = np._core
# pointers that say they are none
OBJECT = Forged(np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 0))
FIELD = Forged(
    np.dtype, ("V8", False, True), (3, "|", None, ("f0",), {"f0": (np.dtype("O"), 0)}, 8, 1, 0)
)
EMPTY = (np.ndarray, (0,), b"b")


@pytest.mark.parametrize(
    "forged",
    [
        Forged(CORE.multiarray._reconstruct, EMPTY, (1, (1,), OBJECT, False, ADDRESS)),
        Forged(CORE.multiarray._reconstruct, EMPTY, (1, (1,), FIELD, False, ADDRESS)),
        Forged(CORE.multiarray.scalar, (OBJECT, ADDRESS)),
        Forged(CORE.numeric._frombuffer, (ADDRESS, OBJECT, (1,), "C")),
        Forged(CORE.multiarray._reconstruct, EMPTY, (1, (1,), "O", False, ADDRESS)),
        Forged(np.ndarray, ((1,), OBJECT, ADDRESS)),
        np.array([None]),
    ],
    ids=["object", "field", "scalar", "buffer", "no type", "constructor", "honest object"],
)
def test_arrays_of_pointers_are_refused(tmp_path, forged):
    (tmp_path / "test.pkl").write_bytes(pickle.dumps({"labels": forged}, protocol=4))
    with pytest.raises(ValueError, match=r"test\.pkl is not a readable file of arrays"):
        load_arrays(tmp_path / "test.pkl")


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_numbers_and_text_come_back_as_pickle_itself_gives_them(tmp_path, protocol):
    arrays = {
        "int": np.arange(6).reshape(2, 3),
        "big endian": np.ones(2, ">f4"),
        "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array(["a", "ü", "\udcff"]),
        "bytes": np.array([b"ab"]),
        "bool": np.array([True, False]),
        "half": np.ones(2, np.float16),
        "empty": np.empty((0, 3)),
        "no axis": np.array(2.5),
        "scalar": np.float32(3),
    }
    content = pickle.dumps({**arrays, "list": [1, "x"]}, protocol=protocol)
    (tmp_path / "x.pkl").write_bytes(content)
    found, expected = load_arrays(tmp_path / "x.pkl"), pickle.loads(content)
    assert found.pop("list") == [1, "x"] and found.keys() == arrays.keys()
    for name, array in found.items():
        assert type(array) is type(expected[name]) and array.dtype == expected[name].dtype, name
        assert array.flags.writeable == expected[name].flags.writeable
        assert array.flags.f_contiguous == expected[name].flags.f_contiguous
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_calls_in_pickles_are_refused_in_every_protocol(tmp_path, protocol):
    (tmp_path / "x.pkl").write_bytes(
        pickle.dumps({"x": Executed(tmp_path / "mark")}, protocol=protocol)
    )
    with pytest.raises(ValueError, match="mkdir, which a file of arrays does not need"):
        load_arrays(tmp_path / "x.pkl")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_calls_in_checkpoints_and_weights_are_refused(tmp_path, zipped):
    content = {"format": FORMAT, "state_dict": {"a": Executed(tmp_path / "mark")}}
    torch.save(content, tmp_path / "last.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(RunError, match=r"last\.pt cannot be read as a checkpoint"):
        Run(tmp_path).checkpoint("last.pt")
    with pytest.raises(ValueError, match="not a file of weights"):
        read_weights(tmp_path / "last.pt")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFREG | stat.S_ISUID]
)
def test_devices_and_modes_in_an_archive_become_plain_files(tmp_path, kind):
    member = zipfile.ZipInfo("top/member")
    member.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(member, "content")
    file = download.unpack(tmp_path / "x.zip", tmp_path / "to", "top") / "member"
    assert stat.S_ISREG(file.stat().st_mode) and not file.stat().st_mode & (
        stat.S_ISUID | stat.S_IXUSR
    )


def test_an_archive_is_not_unpacked_through_a_link_that_is_there(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to/top").symlink_to(tmp_path / "elsewhere")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("top/member", "content")
    with pytest.raises(OSError):
        download.unpack(tmp_path / "x.zip", tmp_path / "to", "top")
    assert not list((tmp_path / "elsewhere").iterdir())


def safetensors(content=b"{}"):
    return len(content).to_bytes(8, "little") + content


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "is empty: copy or download it again"),
        (b"\n<!DOCTYPE html><html>\x1b[1m</html>", "a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (safetensors(b'{"a'), "a damaged or cut off safetensors file"),
        (b"\x1f\x8b\x08", "a compressed file"),
        (b"not weights \x1b[1m", "or it is damaged or cut off"),
        (b"PK\x03\x04cut off", "or it is damaged or cut off"),
        (pickle.dumps({"a": 1}, protocol=4), "a pickle that torch.save did not write"),
    ],
)
def test_what_is_no_file_of_weights_is_said_in_words_with_a_way_out(tmp_path, content, said):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_weights(tmp_path / "w.pt")
    assert said in str(error.value) and f"--weights {tmp_path}/w.pt" in str(error.value)
    assert "\x1b" not in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "other, said",
    [
        (np.float64(0.5), "a NumPy number"),
        (np.zeros(3), "a NumPy array"),
        (pickle.PickleError, "pickle.PickleError"),
    ],
)
def test_objects_beside_the_weights_are_named_and_no_unsafe_reading_is_advised(
    tmp_path, other, said, zipped
):
    content = {"state_dict": {"a": torch.zeros(2)}, "best": other}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f"it also holds {said}") as error:
        read_weights(tmp_path / "w.pt")
    assert "torch.save(model.state_dict()" in str(error.value) and len(str(error.value)) < 400
    assert "\x1b" not in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, number):
    torch.save({"a.weight": torch.tensor([0.0, number]), "n": torch.tensor(3)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="a.weight holds NaN or infinite numbers"):
        read_weights(tmp_path / "w.pt")


def test_pipes_folders_and_nothing_are_no_weights_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path / "pipe", "is a pipe"), (tmp_path, "is a folder")):
        with pytest.raises(ValueError, match=f"--weights: .*{said}"):
            read_weights(path)
    with pytest.raises(FileNotFoundError, match="--weights .*there is no such file"):
        read_weights(tmp_path / "none")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(ValueError, match="a ZIP archive"):
        read_weights(tmp_path / "x.zip")
