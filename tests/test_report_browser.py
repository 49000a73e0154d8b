"""Reports in a real browser: every image loads, nothing is asked of the network, and the page
refuses to ask.
"""

import contextlib
import json
import re
import shutil
import socket
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import BROWSER, Browser
from drawable import draw, finish, make_epochs, make_outputs
from PIL import Image
from recorded import write_run
from trees import TREE
from waiting import wait_until

import figures
import visualize
from figures import FIGURES, Subject
from hierarchies import Hierarchy
from reports import page, run_data

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: install the package chromium for this test"
)

WINDOW = 1400, 900


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
    answers nothing. A browser also opens connections on which it asks nothing.
    """

    def __init__(self):
        self.socket, self.asked = socket.create_server(("127.0.0.1", 0)), []
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:  # the end of the test
                return
            threading.Thread(target=self._note, args=(connection,), daemon=True).start()

    def _note(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.asked.append(connection.recv(4096).decode("latin-1").split("\r\n")[0])


@pytest.fixture(scope="module")
def any_browser(tmp_path_factory):
    """One browser for all tests, as the latest has left it; `asked` has what it asked of the
    network.
    """
    proxy = Proxy()
    browser = Browser(tmp_path_factory.mktemp("profile"), f"--proxy-server={proxy.address}")
    browser.asked = proxy.asked
    yield browser
    browser.close()
    proxy.socket.close()


@pytest.fixture
def browser(any_browser):
    """The browser with its usual window, and a page that no other test goes on with."""
    any_browser.resize(*WINDOW)
    yield any_browser
    any_browser.at = None


@pytest.mark.parametrize("name", ["DR-euc/seed1", "."])
def test_all_images_of_a_report_load_from_the_page_alone(record, tmp_path, browser, name):
    text = (record / name / "report.html").read_text("utf-8")
    copy = tmp_path / "report.html"
    copy.write_text(text, "utf-8")
    browser.open(copy)
    widths = browser.run("[...document.images].map((image) => image.naturalWidth)")
    fetched = browser.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(widths) == text.count("<img ") >= 2 and all(widths)
    assert all(address.startswith("data:image/png") for address in fetched)
    assert "demo" in browser.run("document.title")


def test_the_page_refuses_to_load_anything_from_elsewhere(record, tmp_path, browser):
    text = (record / "report.html").read_text("utf-8")
    foreign = text.replace("</body>", '<img src="http://example.test/a.png"></body>')
    open_page = re.sub(r"<meta http-equiv=.*?>", "", foreign)
    for content, asks in ((foreign, False), (open_page, True)):
        (tmp_path / "page.html").write_text(content, "utf-8")
        browser.open(tmp_path / "page.html")
        assert any("example.test/a.png" in line for line in browser.asked) == asks


NASTY = '<script>boom()</script> "it\'s" \u2028&amp; 桡足类'
# what a person does with a comparison: sorts, filters, chooses a reference, a tree and a class
COMPARE = """
const found = {};
const first = (row) => row.cells[0].textContent;
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const choose = (list, value) => { list.value = value; list.dispatchEvent(new Event("change")); };
const type = (input, text) => { input.value = text; input.dispatchEvent(new Event("input")); };
const names = () => all("[data-sortable] tbody tr").filter((row) => !row.hidden).map(first);
const head = all("[data-sortable] button").find((b) => b.textContent.startsWith("accuracy"));
head.click(); found.down = names();
head.click(); found.up = names();
type(document.querySelector("input"), "norm"); found.shown = names();
const part = document.querySelector("[data-part=measure]");
choose(all("select", part)[1], "1");
const isReference = (row) => row.cells[5].textContent === "reference";
found.reference = all("tbody tr", part).filter(isReference).map(first);
const strips = all("tbody td:nth-child(2) svg", part);
found.points = strips.map((one) => one.querySelectorAll("circle[r='2.4']").length);
found.intervals = strips.map((one) => one.querySelectorAll("line[stroke-width]").length);
found.scatter = all("[data-part=scatter] g").length;
found.front = document.querySelector(".legend").textContent.includes("(front)");
found.panels = all("[data-part=heights] .panel").length;
const curves = document.querySelector("[data-part=curves]");
choose(curves.querySelector("select"), "Scale of the scores");
found.scales = all(".panel", curves).map((panel) => panel.firstChild.textContent);
head.dispatchEvent(new Event("pointerover", { bubbles: true }));
found.tip = document.querySelector(".tip").textContent;
found.bold = all("b").length;
const trees = document.querySelector("[data-part=trees]");
const texts = (selector) => all(selector, trees).map((one) => one.textContent);
found.methods = texts("option");
const left = () => all(".leaf text[text-anchor=end]", trees).map((one) => one.getAttribute("y"));
found.taxa = texts(".taxon");
const before = [left(), texts(".leaf")];
choose(trees.querySelector("select"), trees.querySelectorAll("option")[1].value);
found.still = JSON.stringify(before) === JSON.stringify([left(), texts(".leaf")]);
type(trees.querySelector("input"), "桡足类 b1");
found.found = texts(".found");
const dot = trees.querySelector("circle");
dot.dispatchEvent(new Event("pointerover", { bubbles: true }));
found.branch = document.querySelector(".tip").textContent;
found;
"""


def test_a_comparison_is_sorted_filtered_and_drawn_in_the_browser(tmp_path, browser):
    tree = Hierarchy.from_paths([(g, f"{NASTY} {g}{i}") for g in "AB" for i in range(3)])
    names = {"DR-euc": 0.8, "NormFace-euc": 0.6, "DR-euc-a<b>\"标本'</script>": 0.7}
    for name, accuracy in names.items():
        for seed in (1, 2, 3) if name == "DR-euc" else (1, 2):
            metrics = {"accuracy": accuracy + seed / 100, "severity": 2.0 - accuracy}
            heights = {f"height_accuracy@{h}": 0.8 + h / 10 for h in range(3)}
            folder, dynamic = name.replace("/", "_"), {"dynamic": True} if "<" in name else {}
            run = write_run(
                tmp_path, folder, seed, metrics | heights, tree=tree, mark=name, **dynamic
            )
            run.write_table("epochs.csv", make_epochs())
            if "<" not in name:
                made = make_outputs(tree, 12, seed)
                arrays = {"labels": made.labels, "class_vectors": made.class_vectors}
                run.write_arrays("test", arrays)
    out = tmp_path / "out"
    assert visualize.main([str(tmp_path / "demo"), "--comparison_only", "--out", str(out)]) == 0
    browser.open(out / "report.html")
    found = browser.run(COMPARE)
    assert browser.said == []
    strange = next(name for name in found["down"] if "标本" in name)
    assert found["down"] == ["DR", strange, "NormFace"] and found["up"] == found["down"][::-1]
    assert "<b>" in strange and found["bold"] == 0
    assert found["shown"] == ["NormFace"] and len(found["reference"]) == 1
    # two seeds are points, three have an interval
    assert sorted(zip(found["points"], found["intervals"])) == [(2, 0), (2, 0), (3, 1)]
    assert found["scatter"] == 3 and found["front"] and found["panels"] == 3
    assert found["scales"] == [strange]  # the only one whose scale moves
    assert found["tip"].startswith("Share of the images whose predicted")
    assert sorted(found["methods"]) == ["DR", "NormFace"] and {"A", "B"} <= set(found["taxa"])
    assert found["still"] and len(found["found"]) == 1 and "桡足类 B1" in found["found"][0]
    assert re.match(r"6 classes, these are all classes; joined at \d", found["branch"])


# what a person does: sorts, searches, opens a confusion, closes a superclass
VISIT = """
const all = (where, what) => [...document.querySelectorAll(`#${where} ${what}`)];
const column = (where, j) => all(where, "tbody tr").map((row) => row.cells[j].textContent);
const found = { before: column("per-class", 0) };
found.breaks = all("per-class", "td wbr").map((one) => one.previousSibling.textContent.slice(-1));
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
found;
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


def test_a_person_sorts_searches_and_opens_a_confusion_to_its_files(strange, tmp_path, browser):
    page, outputs = strange
    wrong = np.flatnonzero(outputs.predictions != outputs.labels)
    true, answer = outputs.labels[wrong[0]], outputs.predictions[wrong[0]]
    cell = np.flatnonzero((outputs.labels == true) & (outputs.predictions == answer))
    shown = [name.replace("\u2028", "\\u2028") for name in outputs.hierarchy.class_names]
    wanted = f"true {shown[true]}, answer {shown[answer]}: {len(cell)}"
    browser.open(Path(shutil.copy(page, tmp_path)))
    found = browser.run(f"const WANTED = {json.dumps(wanted)};{VISIT}")
    assert browser.said == []
    assert set(found["breaks"]) == {"/"}  # of the names' </script>
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


# the middle of an element in the window, which is scrolled to
MIDDLE = """((what) => {
  what.scrollIntoView({ block: "center" });
  const box = what.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})"""


@pytest.fixture
def shown(strange, any_browser):
    """The page of the strange run, as it is, open in the browser with its plots drawn."""
    if (any_browser.at, any_browser.size) != (strange[0], WINDOW):
        any_browser.resize(*WINDOW)
        any_browser.open(strange[0])
        any_browser.wait("document.body.dataset.plots === 'drawn'")
    return any_browser


def test_a_point_of_the_map_says_its_file_and_a_click_shows_it(strange, shown):
    shown.run(f"window.middle = {MIDDLE}")
    point = "document.querySelectorAll('#map .scatterlayer .trace')[0].querySelector('.point')"
    shown.point(*shown.run(f"middle({point})"))
    shown.wait("document.querySelector('#map .hoverlayer .hovertext') !== null")
    text = shown.run("document.querySelector('#map .hoverlayer .hovertext').textContent")
    data = shown.run("JSON.stringify([IMAGES.file, IMAGES.true.map(className), DATA.map.images])")
    files, names, images = json.loads(data)
    found = [k for k in images if files[k] in text]
    assert len(found) == 1 and f"true: {names[found[0]]}" in text
    assert "<script>boom()</script>" in text and "桡足类" in text  # as text, not as a script
    shown.point(*shown.run(f"middle({point})"), click=True)
    shown.wait("document.querySelector('#map .card .file') !== null")
    assert shown.run("document.querySelector('#map .card .file').textContent") == files[found[0]]
    assert shown.run("document.querySelector('#map .card img').naturalWidth") == 72
    assert shown.said == []


def test_only_mistakes_stay_in_the_map_where_they_are_asked_for(strange, shown):
    page, outputs = strange
    shown.run(
        "(() => { const list = document.querySelector('#map select[aria-label^=images]');"
        "list.value = 'wrong'; list.dispatchEvent(new Event('change')); })()"
    )
    kept = "document.querySelector('#map .plot').data.flatMap((one) => one.customdata === undefined"
    kept += " ? [] : one.selectedpoints.map((i) => one.customdata[i]))"
    shown.wait(f"{kept}.length < IMAGES.file.length")
    wrong = shown.run("IMAGES.true.filter((c, k) => c !== IMAGES.answer[k]).length")
    assert shown.run(f"{kept}.length") == wrong == (outputs.predictions != outputs.labels).sum()
    assert shown.run(f"{kept}.every((k) => IMAGES.true[k] !== IMAGES.answer[k])")
    assert shown.said == []


def test_the_trees_name_their_joints_and_find_a_class(strange, shown):
    tree = strange[1].hierarchy
    shown.run(f"window.middle = {MIDDLE}")
    texts = "((what) => [...document.querySelectorAll(`#trees ${what}`)].map((t) => t.textContent))"
    superclasses = [tree.names[v] for v in tree.children(0)]
    assert set(superclasses) <= set(shown.run(f"{texts}('.taxon')"))
    names = shown.run(f"{texts}('.leaf text[text-anchor=end]')")
    assert sorted(names) == sorted(shown.run("leaves.map((v) => DATA.tree.names[v])"))
    shown.point(*shown.run("middle(document.querySelector('#trees circle'))"))
    said = "document.querySelector('.tip').textContent"
    assert shown.run(said).startswith("6 classes, these are all classes; joined at ")
    field = "document.querySelector('#trees input')"
    shown.run(f"{field}.value = 'B2'; {field}.dispatchEvent(new Event('input'))")
    assert [name[-2:] for name in shown.run(f"{texts}('.found text')")] == ["B2", "B2"]
    assert "/ " in shown.run("document.querySelector('#trees .found').dataset.tip")
    height = "document.querySelector('#trees .tangle').height.baseVal.value"
    before = shown.run(height)
    shown.run(f"{field}.focus()")
    for _ in range(2):
        shown.press("Tab")
    assert shown.run("document.activeElement.title") == "larger"
    shown.press("Enter")
    assert shown.run(height) > before
    shown.press("Tab")  # the box that scrolls
    shown.press("Tab")
    assert shown.run(said).startswith("6 classes")
    shown.press("ArrowDown")
    assert re.match("[2-5] classes, .*joined at", shown.run(said))
    assert shown.run("document.querySelectorAll('#trees circle[tabindex=\"0\"]').length") == 1
    assert shown.run(f"{texts}('select')") == []  # there is one method
    assert shown.said == []


def test_no_name_of_the_trees_is_cut_by_the_edge(shown):
    """Here the learned tree is the class tree, and its superclasses have long names."""
    cut = shown.run(
        """(() => {
          const names = ["root", "a " + "very ".repeat(30) + "long name", "b", "1", "2", "3", "4"];
          const parent = [-1, 0, 0, 1, 1, 2, 2], leaves = [3, 4, 5, 6];
          const order = [0, 1, 2, 3], colours = parent.map(() => "");
          const tree = { names, parent, leaves, order, colours };
          const size = [4, 2, 2, 1, 1, 1, 1], taxon = [0, 1, 2, 3, 4, 5, 6];
          const learned = { parent, size, shared: size, taxon, start: 0, unit: "angle",
            item: [-1, -1, -1, 0, 1, 2, 3], join: [2, 0.1, 1, 0, 0, 0, 0], crossings: 0 };
          const picture = document.body.appendChild(tanglegram(tree, learned, 15));
          const width = picture.viewBox.baseVal.width;
          const boxes = [...picture.querySelectorAll("text")].map((text) => text.getBBox());
          picture.remove();
          return boxes.filter((box) => box.x < 0 || box.x + box.width > width).length;
        })()"""
    )
    assert cut == 0


def test_long_names_of_one_column_are_cut_so_that_they_differ(shown):
    def column(names):
        return shown.run(f"nameColumn({json.dumps(names)}, 11)")

    start, end = "invertebrates of the northern ", " without any legs at all"
    width, found = column([start + one + end for one in ("shelf", "slope", "slopes")])
    assert width == 150 and len(set(found)) == 3 and all("…" in name for name in found)
    assert "shelf" in found[0] and "slope w" in found[1] and "slopes" in found[2]
    pairs = [a + "x" * 60 + b + "x" * 60 + c for a in "lm" for b in "lm" for c in "lm"]
    width, found = column(pairs)  # no cut keeps all that differs: wider
    assert width > 150 and len(set(found)) == 8
    assert column(["A", "B"]) == [26, ["A", "B"]]


def test_arrow_keys_go_through_the_matrix_and_enter_opens_a_number(shown):
    active = "document.activeElement.getAttribute('aria-label')"
    shown.run("document.querySelectorAll('#confusion .bar button')[1].focus()")
    shown.press("Tab")  # the box that scrolls
    shown.press("Tab")
    assert "A (3)" in shown.run("document.activeElement.textContent")  # the first superclass
    shown.press("ArrowDown")
    first = shown.run(active)
    shown.press("ArrowRight")
    second = shown.run(active)
    assert first.startswith("true ") and second.startswith("true ") and first != second
    assert first.split(", answer ")[0] == second.split(", answer ")[0]  # the same row
    shown.press("Enter")
    shown.wait("document.querySelector('#cell h3') !== null")
    assert shown.run("document.querySelector('#cell h3').textContent") == second
    places = "document.querySelectorAll('#confusion tbody button[tabindex=\"0\"]').length"
    assert shown.run(places) == 1
    assert shown.said == []


def test_curves_have_their_values_under_the_pointer(shown):
    shown.run(f"window.middle = {MIDDLE}")
    shown.point(*shown.run("middle(document.querySelector('#operating .plot .drag'))"))
    x, y = shown.run(
        "(() => { const box = document.querySelector('#operating .plot');"
        "const { xaxis, yaxis } = box._fullLayout; const { left, top } = box"
        ".getBoundingClientRect(); const one = box.data[0]; const i = one.x.length >> 1;"
        "return [left + xaxis._offset + xaxis.c2p(one.x[i]), top + yaxis._offset"
        " + yaxis.c2p(one.y[i])]; })()"
    )
    shown.point(x, y)
    shown.wait("document.querySelector('#operating .hovertext') !== null")
    text = shown.run("document.querySelector('#operating .hovertext').textContent")
    assert re.search(r"threshold \d\.\d{3}: \d+\.\d % right, recall \d\.\d{3}", text)
    assert shown.run("document.querySelectorAll('#training-curves .plot .main-svg').length") >= 3
    titles = "[...document.querySelectorAll('#training-curves .gtitle')].map((t) => t.textContent)"
    found = shown.run(titles)  # the scale is a constant, without --dynamic
    assert "Loss" in found and "Scale of the scores" not in found
    ticks = (
        "[...document.querySelectorAll('#training-curves .xtick text')].map((t) => t.textContent)"
    )
    assert shown.run(ticks) and all(tick.isdigit() for tick in shown.run(ticks))
    assert shown.said == []


def test_a_telephone_scrolls_past_the_plots_and_nothing_is_wider_than_it(strange, shown):
    shown.resize(390, 840, touch=True)
    shown.open(strange[0])
    shown.wait("document.body.dataset.plots === 'drawn'")
    assert shown.run("document.documentElement.scrollWidth") == 390
    modes = "[...document.querySelectorAll('.plot')].map((one) => one.layout.dragmode)"
    assert set(shown.run(modes)) == {False}
    assert shown.said == []


# what cannot be read whole: headings of the matrix, titles under the buttons of their plot
UNREADABLE = """
const heads = [...document.querySelectorAll(".matrix th")];
const cut = heads.filter((one) => one.scrollWidth > one.clientWidth + 1
  || one.scrollHeight > one.clientHeight + 1);
const hidden = [...document.querySelectorAll(".plot")].filter((plot) => {
  const title = plot.querySelector(".gtitle .line") || plot.querySelector(".gtitle");
  const buttons = plot.querySelector(".modebar-group").getBoundingClientRect();
  return title && title.getBoundingClientRect().right > buttons.left;
});
const letters = document.createRange();
const text = document.querySelector(".matrix thead th").lastChild;
letters.setStart(text, text.data.indexOf("桡"));
letters.setEnd(text, text.data.indexOf("类") + 1);
const ruler = document.createElement("canvas").getContext("2d");
const { fontSize, fontFamily } = getComputedStyle(text.parentElement);
ruler.font = `${fontSize} ${fontFamily}`;
const long = [...letters.getClientRects()].reduce((sum, line) => sum + line.height, 0);
[cut.length, hidden.length, Math.abs(long - ruler.measureText("桡足类").width) > 2]
"""


def test_in_a_narrow_window_names_and_titles_are_whole(strange, shown):
    shown.resize(500, 900)
    shown.open(strange[0])
    shown.wait("document.body.dataset.plots === 'drawn'")
    assert shown.run(f"eval({json.dumps(UNREADABLE)})") == [0, 0, False]
    shown.run("document.querySelector('h1').textContent = 'weights='.repeat(20)")
    page = "document.documentElement"
    assert shown.run(f"{page}.scrollWidth === {page}.clientWidth")
    assert shown.said == []


def test_on_paper_no_table_and_no_tree_is_cut_to_a_window_that_scrolls(shown):
    boxes = "[...document.querySelectorAll('.wide')].map((one) => getComputedStyle(one))"
    cut = f"{boxes}.filter((one) => one.overflow !== 'visible' || one.maxHeight !== 'none').length"
    assert shown.run(cut) > 5
    shown.as_printed(True)
    found = shown.run(cut)
    buttons = "[...document.querySelectorAll('th button')].map((e) => getComputedStyle(e).display)"
    painted = shown.run(f"[...new Set({buttons})]")
    shown.as_printed(False)
    assert found == 0 and painted == ["contents"]  # a button is not painted on a second sheet


def test_a_table_wider_than_a_sheet_is_made_smaller_on_paper(shown):
    table = "document.querySelector('div.wide table')"
    shown.run(f"{table}.style.minWidth = '2000px'")
    shown.run("dispatchEvent(new Event('beforeprint'))")
    assert shown.run(f"{table}.getBoundingClientRect().width") == pytest.approx(660, abs=2)
    shown.run("dispatchEvent(new Event('afterprint'))")
    assert shown.run(f"{table}.getBoundingClientRect().width") == pytest.approx(2000, abs=2)
    shown.run(f"{table}.style.minWidth = ''")
    assert shown.said == []


def test_a_plot_is_saved_as_a_picture(strange, shown, tmp_path):
    shown.save_to(tmp_path)
    shown.run("document.querySelector('#map .modebar-btn').click()")
    wait_until(lambda: list(tmp_path.glob("*.png")))
    (saved,) = tmp_path.glob("*.png")
    assert Image.open(saved).size[0] > 100
    assert shown.said == []


def test_no_plot_can_be_sent_to_a_server(shown):
    buttons = "[...document.querySelectorAll('.modebar-btn')].map((one) => one.dataset.title)"
    found = shown.run(buttons)
    assert found and not [name for name in found if re.search("share|cloud|edit", name, re.I)]


def test_errors_in_the_console_are_noticed(strange, browser):
    browser.open(strange[0])
    browser.run("void setTimeout(() => boom())")
    browser.wait_for_words("boom is not defined")


def test_a_script_that_the_policy_is_not_told_of_does_not_run(strange, tmp_path, browser):
    text = strange[0].read_text("utf-8")
    foreign = "<script>document.body.append('it ran')</script></body>"
    (tmp_path / "foreign.html").write_text(text.replace("</body>", foreign), "utf-8")
    browser.open(tmp_path / "foreign.html")
    browser.wait_for_words("Content Security Policy")
    assert "it ran" not in browser.run("document.body.innerText")


def odd_subjects():
    """Runs that lack something: embeddings, test images, groups, epochs, all but two classes."""
    drawn = make_outputs(TREE, 40)
    none = np.zeros((40, 0)), np.zeros((7, 0))
    scores = replace(
        drawn,
        embeddings=none[0],
        class_vectors=none[1],
        prototypes=none[1],
        prototype_scores=None,
    )
    flat = Hierarchy.from_paths([(f"c{i}",) for i in range(5)])
    pair = Hierarchy.from_paths([("a",), ("b",)])
    epochs = pd.DataFrame({"epoch": []})
    return {
        "scores only": Subject(scores, epochs, {}),
        "no image": Subject(make_outputs(TREE, 0), epochs, {}),
        "flat": Subject(make_outputs(flat, 20), make_epochs(1), {"dynamic": True}),
        "two classes": Subject(make_outputs(pair, 4), epochs, {}),
    }


def test_runs_that_lack_something_make_pages_without_errors(tmp_path, browser):
    for name, subject in odd_subjects().items():
        shown, data, _ = run_data.run_data(subject)
        sections = [
            page.Section(panel.title, page.placeholder(panel.name, panel.sentence))
            for panel in shown
        ]
        path = tmp_path / f"{name}.html"
        path.write_bytes(page.document(name, [], sections, kind="run_page", data=data))
        browser.open(path)
        browser.wait("document.body.dataset.plots === 'drawn'")
        assert browser.said == [], name
        # either there is something, or a reason stands in place of how to use it
        wrong = "[...document.querySelectorAll('p + div[id]')].filter((one) => !one.children.length"
        wrong += " !== (one.previousElementSibling.className === 'none'))"
        assert browser.run(f"{wrong}.map((one) => one.id)") == [], name
