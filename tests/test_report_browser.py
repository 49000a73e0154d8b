"""Reports in a real browser: every image loads, nothing is asked of the network, and the page
refuses to ask.
"""

import base64
import hashlib
import html
import json
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from drawable import draw, finish, make_outputs
from PIL import Image
from recorded import write_run

import figures
import visualize
from figures import FIGURES
from hierarchies import Hierarchy

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-default-apps",
    "--no-pings",
    "--window-size=1280,2000",
)
# what the page itself must not contain, added to a copy: tells how wide the images are and what was
# fetched for them
PROBE = """<script>onload = () => {
  const widths = [...document.images].map(image => image.naturalWidth);
  const fetched = performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 20));
  const found = `${widths.join()};${fetched.join()};${document.title}`;
  document.body.innerHTML = `<p id="probe">${found}</p>`;
}</script>"""

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: install the package chromium for this test"
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Two drawn runs and their comparison."""
    folder = tmp_path_factory.mktemp("browser")
    for name in ("DR-euc", "NormFace-euc"):
        finish(folder, name, 1)
    few = {name: FIGURES[name] for name in ("training_curves", "tanglegram", "mistake_images")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "FIGURES", few)
        assert draw(folder / "demo") == 0
    return folder / "demo"


class Proxy:
    """A listener that the browser takes for its way into the network; it notes what is asked and
    answers nothing.
    """

    def __init__(self):
        self.socket, self.asked = socket.create_server(("127.0.0.1", 0)), []
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
                with connection:
                    connection.settimeout(5)
                    self.asked.append(connection.recv(4096).decode("latin-1").split("\r\n")[0])
            except OSError:  # the end of the test
                return


@pytest.fixture
def browse(tmp_path):
    """Opens a file in the browser, with a new profile, and returns what it prints and what it asked
    of the network; `said` has its messages, those of the page's console among them.
    """
    proxy = Proxy()

    def run(path: Path, *flags: str) -> tuple[str, list[str]]:
        command = [
            BROWSER,
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--proxy-server={proxy.address}",
        ]
        done = subprocess.run(
            [*command, *flags, path.as_uri()], capture_output=True, timeout=180, cwd=tmp_path
        )
        run.said = done.stderr.decode("utf-8", "replace")
        assert done.returncode == 0, run.said[-2000:]
        return done.stdout.decode("utf-8", "replace"), [
            line for line in proxy.asked if "example.test" in line
        ]

    yield run
    proxy.socket.close()


@pytest.mark.parametrize("name", ["DR-euc/seed1", "."])
def test_all_images_of_a_report_load_from_the_page_alone(record, tmp_path, browse, name):
    text = (record / name / "report.html").read_text("utf-8")
    count = text.count("<img ")
    copy = tmp_path / "alone" / "report.html"
    copy.parent.mkdir()
    copy.write_text(
        re.sub(r"<meta http-equiv=.*?>", "", text).replace("</body>", f"{PROBE}</body>"), "utf-8"
    )
    found = re.search(r'<p id="probe">(.*?);(.*?);(.*?)</p>', browse(copy, "--dump-dom")[0])
    widths, fetched, title = found.groups()
    assert count >= 2 and [int(width) > 0 for width in widths.split(",")] == [True] * count
    assert all(address.startswith("data:image/png") for address in fetched.split(",") if address)
    assert title in text and "demo" in title


def test_the_report_as_it_is_shows_its_images(record, tmp_path, browse):
    browse(record / "DR-euc" / "seed1" / "report.html", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and printed.count(b"/Subtype /Image") >= 2


def test_the_page_refuses_to_load_anything_from_elsewhere(record, tmp_path, browse):
    text = (record / "report.html").read_text("utf-8")
    foreign = text.replace("</body>", '<img src="http://example.test/a.png"></body>')
    open_page = re.sub(r"<meta http-equiv=.*?>", "", foreign)
    for name, content in (("closed", foreign), ("open", open_page)):
        (tmp_path / f"{name}.html").write_text(content, "utf-8")
    assert browse(tmp_path / "closed.html", "--dump-dom")[1] == []
    assert any(
        "example.test/a.png" in line for line in browse(tmp_path / "open.html", "--dump-dom")[1]
    )


# sorts, filters and draws a comparison, and says what became of it
USE = """<script>onload = () => {
  const wrong = [], found = {};
  addEventListener("error", (event) => wrong.push(event.message));
  const first = (row) => row.cells[0].textContent;
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const names = () => all("[data-sortable] tbody tr").filter((row) => !row.hidden).map(first);
  const button = all("[data-sortable] button").find((b) => b.textContent.startsWith("accuracy"));
  button.click(); found.down = names();
  button.click(); found.up = names();
  const input = document.querySelector("input");
  input.value = "norm"; input.dispatchEvent(new Event("input")); found.shown = names();
  const part = document.querySelector("[data-part=measure]");
  const list = all("select", part)[1];
  list.value = "1"; list.dispatchEvent(new Event("change"));
  const isReference = (row) => row.cells[5].textContent === "reference";
  found.reference = all("tbody tr", part).filter(isReference).map(first);
  found.points = all("tbody tr:first-child td:nth-child(2) circle[r='2.4']", part).length;
  found.scatter = all("[data-part=scatter] g").length;
  found.front = document.querySelector(".legend").textContent.includes("(front)");
  found.panels = all("[data-part=heights] .panel").length;
  button.dispatchEvent(new Event("pointermove"));
  found.tip = document.querySelector(".tip").textContent;
  found.bold = all("b").length;
  found.wrong = wrong;
  const said = document.createElement("p");
  said.id = "probe";
  said.textContent = encodeURIComponent(JSON.stringify(found));
  document.body.replaceChildren(said);
}</script>"""


def test_a_comparison_is_sorted_filtered_and_drawn_in_the_browser(tmp_path, browse):
    names = {"DR-euc": 0.8, "NormFace-euc": 0.6, "DR-euc-a<b>\"标本'</script>": 0.7}
    for name, accuracy in names.items():
        for seed in (1, 2):
            metrics = {"accuracy": accuracy + seed / 100, "severity": 2.0 - accuracy}
            heights = {f"height_accuracy@{h}": 0.8 + h / 10 for h in range(3)}
            folder = name.replace("/", "_")
            write_run(tmp_path, folder, seed, {**metrics, **heights}, mark=name)
    out = tmp_path / "out"
    assert visualize.main([str(tmp_path / "demo"), "--comparison_only", "--out", str(out)]) == 0
    text = (out / "report.html").read_text("utf-8")
    page, copy = out / "report.html", tmp_path / "copy.html"
    # as it is, under its own policy: the script runs, and reports no error
    shown = browse(page, "--dump-dom", "--enable-logging=stderr")[0]
    assert shown.count('class="panel"') >= 3
    copy.write_text(
        re.sub(r"<meta http-equiv=.*?>", "", text).replace("</body>", f"{USE}</body>"), "utf-8"
    )
    dumped = browse(copy, "--dump-dom")[0]
    found = json.loads(unquote(re.search(r'<p id="probe">(.*?)</p>', dumped)[1]))
    strange = next(name for name in found["down"] if "标本" in name)
    assert found["down"] == ["DR", strange, "NormFace"] and found["up"] == found["down"][::-1]
    assert "<b>" in strange and found["bold"] == 0 and found["wrong"] == []
    assert found["shown"] == ["NormFace"] and len(found["reference"]) == 1
    assert found["points"] == 2 and found["scatter"] == 3 and found["front"]
    assert found["panels"] == 3 and found["tip"].startswith("Share of the images whose predicted")


NASTY = '<script>boom()</script> "it\'s" \u2028&amp; 桡足类'
# what a person does: sorts, searches, opens a confusion, closes a superclass; the page's policy
# stays, with the hash of this script added
VISIT = """
const all = (where, what) => [...document.querySelectorAll(`#${where} ${what}`)];
const column = (where, j) => all(where, "tbody tr").map((row) => row.cells[j].textContent);
const found = { before: column("per-class", 0) };
const click = (where, text) =>
  all(where, "th button").find((one) => one.textContent === text).click();
click("per-class", "recall");
found.falling = column("per-class", 2);
click("per-class", "recall");
found.rising = column("per-class", 2);
const search = document.querySelector("#per-class input");
search.value = "桡足";
search.dispatchEvent(new Event("input"));
found.searched = column("per-class", 0);
found.worst = all("worst", "tbody tr").map((row) => [...row.cells].map((c) => c.textContent));
all("confusion", "td button").find((one) => one.ariaLabel === WANTED).click();
found.files = all("cell", ".file").map((one) => one.textContent);
found.pictures = all("cell", "img").length;
const rows = () => all("confusion", "tbody tr").length;
found.rows = [rows()];
all("confusion", "tbody th button")[0].click();
found.rows.push(rows());
document.querySelector("[data-tip]").focus();
found.tip = document.querySelector(".tip").textContent;
const result = document.createElement("pre");
result.id = "probe";
result.textContent = JSON.stringify(found);
document.body.append(result);
"""


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A drawn run whose classes and files have names that could break a page, with its outputs and
    file names.
    """
    folder = tmp_path_factory.mktemp("strange")
    tree = Hierarchy.from_paths([(g, f"{NASTY} {g}{i}") for g in "AB" for i in range(3)])
    run = finish(folder, "DR-euc", 1, tree=tree)
    outputs = make_outputs(tree, 40, 1, noise=0.6)
    files = np.array([f"{NASTY} {i}.png" for i in range(40)])
    fields = ("labels", "scores", "embeddings", "class_vectors", "prototypes", "prototype_scores")
    run.write_arrays(
        "test", {**{field: getattr(outputs, field) for field in fields}, "files": files}
    )
    for i, file in enumerate(files):
        path = folder / "images" / str(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (90, 60), i).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "FIGURES", {})
        assert draw(run.folder, "--data_dir", folder / "images") == 0
    return run.folder / "report.html", outputs


def visited(text: str, script: str) -> str:
    """A page that also runs a script, which its policy is told of."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = text.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    return allowed.replace("</body>", f"<script>{script}</script></body>")


def test_a_person_sorts_searches_and_opens_a_confusion_to_its_files(strange, tmp_path, browse):
    page, outputs = strange
    wrong = np.flatnonzero(outputs.predictions != outputs.labels)
    true, answer = outputs.labels[wrong[0]], outputs.predictions[wrong[0]]
    cell = np.flatnonzero((outputs.labels == true) & (outputs.predictions == answer))
    shown = [name.replace("\u2028", "\\u2028") for name in outputs.hierarchy.class_names]
    wanted = f"true {shown[true]}, answer {shown[answer]}: {len(cell)}"
    script = f"const WANTED = {json.dumps(wanted).replace('<', chr(92) + 'u003c')};{VISIT}"
    copy = tmp_path / "visit.html"
    copy.write_text(visited(page.read_text("utf-8"), script), "utf-8")
    printed = browse(copy, "--dump-dom", "--enable-logging=stderr")[0]
    assert "CONSOLE" not in browse.said
    found = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', printed)[1]))
    assert found["before"] == shown and found["searched"] and len(found["searched"]) == 6
    recalls = [float(value) for value in found["rising"] if value != "–"]
    assert recalls == sorted(recalls) and len(set(recalls)) > 1
    assert [float(value) for value in found["falling"] if value != "–"] == recalls[::-1]
    expected = {f"{NASTY} {i}.png".replace("\u2028", "\\u2028") for i in cell}
    assert set(found["files"]) == expected and found["pictures"] == len(cell)
    assert found["rows"] == [8, 5]  # two superclasses open with three classes each, then one
    assert found["tip"].endswith(".")
    tree = outputs.hierarchy
    assert len(found["worst"]) == len(wrong)
    for _, file, name, taken, _, ancestor, height in found["worst"]:
        i = int(file.removesuffix(".png").rsplit(" ", 1)[1])
        assert (name, taken) == (shown[outputs.labels[i]], shown[outputs.predictions[i]])
        same = name[-2] == taken[-2]  # A or B
        assert (ancestor, height) == (name[-2] if same else tree.names[0], "1" if same else "2")


def test_errors_in_the_console_are_noticed(strange, tmp_path, browse):
    text = strange[0].read_text("utf-8")
    (tmp_path / "faulty.html").write_text(visited(text, "boom();"), "utf-8")
    browse(tmp_path / "faulty.html", "--dump-dom", "--enable-logging=stderr")
    assert "boom is not defined" in browse.said


def test_a_script_that_the_policy_is_not_told_of_does_not_run(strange, tmp_path, browse):
    text = strange[0].read_text("utf-8")
    foreign = "<script>document.body.append('it ran')</script></body>"
    (tmp_path / "foreign.html").write_text(text.replace("</body>", foreign), "utf-8")
    printed = browse(tmp_path / "foreign.html", "--dump-dom", "--enable-logging=stderr")[0]
    assert "Content Security Policy" in browse.said and not re.search("it ran(?!')", printed)
