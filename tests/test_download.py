"""Downloads and archives: what ends early, is damaged, or reaches outside of its folder."""

import http.server
import threading
import zipfile

import pytest
from filed_images import put, write_tinyimagenet, zipped

from data import download


class HalfServer(http.server.BaseHTTPRequestHandler):
    """Promises more bytes than it sends."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 400)

    def log_message(self, *arguments):
        pass


def test_a_download_that_ends_early_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with http.server.HTTPServer(("127.0.0.1", 0), HalfServer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(OSError, match="cannot be downloaded"):
            download.download(f"http://127.0.0.1:{server.server_port}/a.zip", tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def member(name, mode=0o100644):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    "bad, reason",
    [
        (member("../outside.txt"), "would lie outside"),
        (member("tiny-imagenet-200/../../outside.txt"), "would lie outside"),
        (member("/tmp/outside.txt"), "would lie outside"),
        (member("..\\outside.txt"), "would lie outside"),
        (member("C:/outside.txt"), "would lie outside"),
        (member("tiny-imagenet-200/link", 0o120777), "is a link"),
    ],
)
def test_an_archive_that_reaches_outside_is_refused(tmp_path, bad, reason):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("tiny-imagenet-200/train/a.txt", "fine")
        archive.writestr(bad, "/etc")
    with pytest.raises(ValueError, match=f"x.zip: the member .* {reason}.*nothing was unpacked"):
        download.unpack(tmp_path / "x.zip", tmp_path / "to", "tiny-imagenet-200")
    assert list((tmp_path / "to").iterdir()) == [] and not (tmp_path / "outside.txt").exists()


def test_a_damaged_or_other_archive_is_named(tmp_path):
    whole = zipped(write_tinyimagenet(tmp_path / "set", ["n01443537"], train=3))
    flipped = bytearray(whole)
    flipped[len(whole) // 3 : len(whole) // 3 + 50] = bytes(50)
    for content, reason in (
        (b"nothing", "not a readable ZIP"),
        (whole[:-200], "not a readable ZIP"),
        (bytes(flipped), "not a readable ZIP"),
    ):
        with pytest.raises(ValueError, match=reason):
            download.unpack(put(tmp_path / "x.zip", content), tmp_path / "to", "tiny-imagenet-200")
        assert list((tmp_path / "to").iterdir()) == []
    with pytest.raises(ValueError, match="x.zip has no folder 'imagenet'"):
        download.unpack(put(tmp_path / "x.zip", whole), tmp_path / "to", "imagenet")
