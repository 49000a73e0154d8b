"""predict.py --serve: a page that answers dropped images as predict.py does, and nothing else."""

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from chromium import BROWSER, Browser
from images import draw
from PIL import Image
from recorded import run_main
from test_api import assert_same_answers
from trained import draw_odd_images, train_on_odd_images
from trees import TREE
from waiting import PATIENCE, wait_until

import predict
from evaluation import load, serving
from evaluation.answers import Answerer
from evaluation.decision import Decision
from evaluation.serving import Answering, make_server, shown
from hierarchies.tree import parse_path

STRANGE = '<script>boom()<img src=x onerror=boom()> "it\'s" &amp; 桡足类'
CLASSES = [f"A/{STRANGE} 1", f"A/{STRANGE} 2", "B/plain", "=B/long, thin"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on grey images of classes with strange names, with a validation split."""
    return train_on_odd_images(tmp_path_factory.mktemp("serve"), CLASSES)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images of odd sizes and kinds, and two that cannot be read."""
    root = tmp_path_factory.mktemp("new")
    draw_odd_images(root)
    deep = np.random.default_rng(5).integers(0, 65536, (9, 14), dtype=np.uint16)
    Image.fromarray(deep).save(root / "deep.png")
    draw(root / f"{STRANGE}.jpg", (20, 9), seed=9)
    content = (root / f"{STRANGE}.jpg").read_bytes()
    (root / "half.jpg").write_bytes(content[: len(content) // 2])
    (root / "zz.png").write_bytes(b"no image")
    return root


@pytest.fixture
def served():
    """Starts servers that answer by a function, and ends them."""
    servers = []

    def start(answers):
        server = make_server(answers, ["a run", 'rule "<b>"'], "127.0.0.1", 0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(server, method="POST", path="/answer", body=b"x", headers=(), **changes):
    """Status, headers and JSON or text of one request; a header None is left out."""
    port = server.server_address[1]
    sent = {"Host": f"127.0.0.1:{port}", "X-File-Name": "a.png", "Content-Length": str(len(body))}
    sent |= dict(headers) | changes
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in sent.items():
        for one in [] if value is None else value if isinstance(value, list) else [value]:
            connection.putheader(name, one)
    connection.endheaders(body)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8")
    connection.close()
    found = json.loads(text) if answer.headers["Content-Type"] == "application/json" else text
    return answer.status, answer.headers, found


def test_answers_are_those_of_the_script(run, images, served, tmp_path, capsys):
    out = tmp_path / "table.csv"
    flags = "--cover", "2", "--target_accuracy", "0.4", "--GPU", "cpu"
    assert run_main(predict.main, capsys, run.folder, images, "--out", out, *flags)[0] == 0
    loaded = load(run.folder, GPU="cpu", cover=2, target_accuracy=0.4)
    server = served(Answering(loaded._predictor))
    files, lines = sorted(images.iterdir()), []
    for file in files:
        name = quote(file.name, safe="")
        status, _, found = ask(server, body=file.read_bytes(), headers={"X-File-Name": name})
        unread = file.name in ("half.jpg", "zz.png")
        assert status == 200 and (found["error"] is None) != unread
        lines.append(found["csv"][1])
    (tmp_path / "served.csv").write_text(found["csv"][0] + "".join(lines), "utf-8")
    options = {"keep_default_na": False, "na_values": [""]}
    table, expected = (pd.read_csv(tmp_path / n, **options) for n in ("served.csv", "table.csv"))
    assert table["file"].tolist() == [file.name for file in files]
    assert_same_answers(table.drop(columns="file"), expected.drop(columns="file"))


def test_what_is_shown_is_in_the_table_and_harmless():
    p = np.full((1, TREE.num_classes), 0.01)
    p[0, 0] = 1 - p[0, 1:].sum()
    answers = Answerer(TREE, Decision("threshold", {"threshold": 0.999}), topk=2)
    table = answers(np.log(p)).table.assign(novelty_p=np.nan, error=None)
    table.insert(0, "file", "a\x1b\u202e<b>.png")
    found = shown(table)
    assert found["file"] == "a\\x1b\\u202e<b>.png" and found["error"] is None
    assert found["answer"] == [] and found["answer_probability"] == pytest.approx(1)
    assert found["root"] == table["decision"].item() == "root"
    assert [c["path"] for c in found["classes"]] == [list(TREE.class_paths[c]) for c in (0, 1)]
    assert [c["probability"] for c in found["classes"]] == pytest.approx([p[0, 0], 0.01])
    assert len(found["levels"]) == len(TREE.class_paths[0]) and found["novelty"] is None
    assert found["levels"][-1] == pytest.approx(p[0, 0]) and found["cover"] is None
    json.dumps(found, allow_nan=False)
    unread = shown(pd.DataFrame({"file": ["b"], "error": ["no\x07 image"]}))
    assert unread == {"file": "b", "error": "no\\x07 image"}


def test_the_page_says_what_answers_and_lets_in_no_script_but_its_own(served):
    server = served(lambda name, content: {})
    status, headers, text = ask(server, "GET", "/", b"")
    assert status == 200 and "rule &quot;&lt;b&gt;&quot;" in text and "<b>" not in text
    assert text.count("<script") == 1 and 'src="/page.js"' in text
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for path, kind in (("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, headers, _ = ask(server, "GET", path, b"")
        assert status == 200 and headers["Content-Type"].startswith(kind)
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "status, changes",
    [
        (421, {"Host": "evil.test"}),  # whose address may now be this machine's
        (421, {"Host": "127.0.0.1.evil.test:80"}),
        (421, {"Host": "evil.test@127.0.0.1"}),
        (421, {"Host": "127.0.0.1/evil"}),
        (421, {"Host": None}),
        (421, {"Host": ["127.0.0.1", "evil.test"]}),
        (403, {"Origin": "http://evil.test"}),
        (403, {"Origin": "null"}),
        (403, {"Sec-Fetch-Site": "cross-site"}),
        (403, {"Sec-Fetch-Site": "same-site"}),
        (400, {"X-File-Name": None}),
        (411, {"Content-Length": None}),
        (411, {"Content-Length": "-1"}),
        (411, {"Content-Length": ["1", "5"]}),
        (411, {"Content-Length": "1e3"}),
        (411, {"Transfer-Encoding": "chunked"}),
        (413, {"Content-Length": str(serving.LARGEST + 1)}),
        (404, {"path": "/predict"}),
        (404, {"path": "/../evaluation/serving.py", "method": "GET"}),
        (404, {"path": "/served.html", "method": "GET"}),
        (501, {"method": "OPTIONS"}),
        (501, {"method": "PUT"}),
    ],
)
def test_what_does_not_come_from_the_page_is_refused(served, status, changes):
    asked = []
    server = served(lambda name, content: asked.append(name) or {})
    own = {name: changes[name] for name in ("path", "method") if name in changes}
    others = {name: value for name, value in changes.items() if name not in own}
    found, headers, body = ask(server, **own, headers=others)
    assert found == status and body["refused"] and asked == []
    assert "Access-Control-Allow-Origin" not in headers and headers["Connection"] == "close"


def test_the_page_itself_is_let_in_by_its_names(served):
    server = served(lambda name, content: {"name": name, "size": len(content)})
    port = server.server_address[1]
    for host in (f"localhost:{port}", "127.0.0.1", "[::1]:9000", f"LocalHost:{port}"):
        own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        status, _, found = ask(server, headers={**own, "X-File-Name": "%E6%A1%A1%20b%00%FF"})
        assert status == 200 and found == {"name": "桡 b\0\ufffd", "size": 1}
    assert len(ask(server, headers={"X-File-Name": 5000 * "a"})[2]["name"]) == serving.LONGEST_NAME


def test_an_upload_that_ends_early_is_not_answered(served):
    asked = []
    server = served(lambda name, content: asked.append(name) or {})
    with socket.create_connection(server.server_address[:2], timeout=PATIENCE) as connection:
        head = "POST /answer HTTP/1.1", "Host: localhost", "X-File-Name: a", "Content-Length: 9"
        connection.sendall("\r\n".join([*head, "", "four"]).encode())
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert b" 400 " in answer.split(b"\r\n")[0] and asked == []


def test_a_failure_is_told_and_the_next_image_is_answered(served, capsys):
    def answers(name, content):
        if content == b"bad":
            raise RuntimeError("scores\x1b are <not> finite")
        return {"fine": True}

    server = served(answers)
    status, _, found = ask(server, body=b"bad")
    assert status == 500 and found["refused"] == "scores\\x1b are <not> finite"
    assert "RuntimeError" in capsys.readouterr().err
    assert ask(server)[2] == {"fine": True}


def test_images_sent_at_once_get_each_its_own_answer(run, images, served):
    server = served(Answering(load(run.folder, GPU="cpu", rule="majority")._predictor))
    files = [images / f"{i}.png" for i in range(5)]

    def answer(file):
        return ask(server, body=file.read_bytes(), headers={"X-File-Name": file.name})[2]

    alone = [answer(file) for file in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(answer, 2 * files))
    assert [found["file"] for found in together] == 2 * [file.name for file in files]
    first = [[found["levels"][0] for found in several] for several in (together, 2 * alone)]
    np.testing.assert_allclose(*first, rtol=1e-4, atol=1e-5)


def test_images_are_computed_one_after_the_other(served):
    class Slow:
        """A predictor that counts how many ask it at once."""

        asked, most = 0, 0

        def table(self, images):
            self.asked += 1
            self.most = max(self.most, self.asked)
            time.sleep(0.02)
            self.asked -= 1
            return pd.DataFrame({"file": [images[0].name], "error": ["none"]})

    slow = Slow()
    server = served(Answering(slow))
    with ThreadPoolExecutor(4) as pool:
        assert all(status == 200 for status, *_ in pool.map(lambda _: ask(server), range(8)))
    assert slow.most == 1


def test_the_script_serves_until_ctrl_c_and_writes_nothing(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    addresses = []

    def interrupted(server, poll_interval):
        addresses.append(server.server_address)
        raise KeyboardInterrupt

    monkeypatch.setattr(serving.Server, "serve_forever", interrupted)
    argv = run.folder, "--serve", "--port", "0", "--rule", "majority", "--at", "1", "--GPU", "cpu"
    status, said, err = run_main(predict.main, capsys, *argv)
    assert (status, err) == (0, "") and "rule majority" in said and "told apart as" in said
    ((host, port),) = addresses
    assert host == "127.0.0.1" and f"open http://127.0.0.1:{port}/" in said
    assert "password" not in said and list(tmp_path.iterdir()) == []
    status, said, _ = run_main(predict.main, capsys, *argv, "--host", "0.0.0.0")
    assert status == 0 and "there is no password" in said
    assert f"open http://localhost:{addresses[1][1]}/" in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        argv = run.folder, "--serve", "--port", taken.getsockname()[1], "--rule", "majority"
        status, _, err = run_main(predict.main, capsys, *argv, "--GPU", "cpu")
    assert status == 2 and "name another --port" in err and len(err.splitlines()) == 1
    with pytest.raises(ValueError, match="name an address of this machine"):
        make_server(None, [], "203.0.113.1", 0)  # of no machine: for documentation


@pytest.mark.parametrize(
    "argv, message",
    [
        (("run", "--serve", "--out", "t.csv"), "--out has no meaning with --serve"),
        (("run", "--serve", "--counts", "t.csv"), "--counts has no meaning with --serve"),
        (("run", "--serve", "--labels"), "--labels has no meaning with --serve"),
        (("run", "--serve", "--batch_size", "2"), "--batch_size has no meaning with --serve"),
        (("run", "--serve", "--export", "m.onnx"), "no meaning with --export"),
        (("run", "image.png", "--port", "80"), "--port needs --serve"),
        (("run", "image.png", "--host", "::1"), "--host needs --serve"),
        (("run", "--serve", "--port", "65536"), "65536 is not a port"),
    ],
)
def test_what_the_page_does_not_read_is_refused(capsys, argv, message):
    status, _, err = run_main(predict.main, capsys, *argv)
    assert status == 2 and message in err


def test_images_beside_the_page_are_refused(run, images, capsys):
    status, _, err = run_main(predict.main, capsys, run.folder, images, "--serve")
    assert status == 2 and "is not a run; --serve answers the images that are dropped" in err


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: install the package chromium")
def test_files_dropped_in_a_browser_are_answered(run, images, served, tmp_path):
    loaded = load(run.folder, GPU="cpu", target_accuracy=0.4)
    server = served(Answering(loaded._predictor))
    files = [images / f"{STRANGE}.jpg", images / "2.png", images / "zz.png"]
    browser = Browser(tmp_path / "profile")
    try:
        browser.save_to(tmp_path)
        browser.open(server.url)
        browser.drop(*files)
        browser.wait("document.querySelector('#state').textContent == '3 of 3 images'")
        found = browser.run(
            """({
              files: [...document.querySelectorAll(".file")].map((e) => e.textContent),
              texts: [...document.querySelectorAll(".text")].map((e) => e.innerText),
              foreign: document.querySelectorAll(".text img, .text script").length,
              meters: [...document.querySelectorAll(".text")].map(
                (e) => [...e.querySelectorAll("meter")].map((meter) => meter.value)),
              pictures: [...document.querySelectorAll(".picture img")].map((e) => e.naturalWidth),
            })"""
        )
        browser.run("document.querySelector('#save').click()")
        saved = tmp_path / "predictions.csv"
        wait_until(saved.exists)
        browser.drop(images)  # a folder
        number = len(list(images.iterdir()))
        browser.wait(f"document.querySelector('#state').textContent.startsWith('{3 + number} of')")
        browser.run("document.querySelector('#clear').click()")
        assert browser.run("document.querySelector('#answers').children.length") == 0
        unsure = (
            "{ answer: [], root: 'Life', answer_probability: 1, levels: [0.1], cover: null,"
            " novelty: null, classes: [{ path: ['a'], probability: 0.1 }] }"
        )
        browser.run(f"show(document.querySelector('#answers'), {unsure})")
        nothing = browser.run(
            "[...document.querySelectorAll('.answer, .path')].map((e) => e.textContent)"
        )
        browser.run("document.querySelector('#answers').replaceChildren()")
        browser.run("window.fetch = () => Promise.reject(new TypeError('Failed')); 0")
        browser.drop(files[0])  # after Ctrl-C
        browser.wait("document.body.innerText.includes('cannot be reached')")
        said = list(browser.said)
        # errors, and what the page's policy forbids, would have been noticed
        browser.run("setTimeout(() => boom(), 0)")
        browser.run(
            "document.body.append(Object.assign(document.createElement('script'), { text: '1' }))"
        )
        browser.wait_for_words("boom is not defined", "Content Security Policy")
    finally:
        browser.close()
    assert said == []
    assert nothing == ["nothing can be said", "Life"]  # not that this is sure
    assert found["files"] == [file.name for file in files]
    assert found["foreign"] == 0 and found["pictures"] == [20, 16]
    assert "not answered: this is not an image" in found["texts"][2]
    # a spreadsheet would run what begins with '='
    table = pd.read_csv(saved).replace("^'=", "=", regex=True)
    expected = loaded.predict(files)
    assert_same_answers(table.drop(columns="file"), expected.drop(columns="file"))
    for text, meters, row in zip(found["texts"], found["meters"], expected.to_dict("records")):
        if not meters:
            continue
        assert all(parse_path(row[name])[-1] in text for name in ("class", "class_2", "class_3"))
        levels = [row[f"probability_level_{depth}"] for depth in (1, 2)]
        classes = [row[name] for name in ("probability", "probability_2", "probability_3")]
        np.testing.assert_allclose(meters, levels + classes, rtol=1e-4, atol=1e-5)
    assert [len(meters) for meters in found["meters"]] == [5, 5, 0]
