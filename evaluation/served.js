"use strict";
// Sends each dropped file to the program that answers, and shows what comes back. All that others
// have named, files and taxa, goes in as text.

const byId = (id) => document.getElementById(id);
const largest = Number(document.body.dataset.largest);
const rows = []; // lines of the table, in the order of the images; undefined where there is none yet
let titles = "";
let waiting = [];
let working = false;
let round = 0; // what was asked before Clear is not shown after it

function make(parent, kind, name, text) {
  const element = document.createElement(kind);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

const percent = (p) => (p === null ? "unknown" : `${(100 * p).toFixed(1)} %`);
const joined = (path) => path.filter((key) => key !== ".").join(" \u203a ");
const last = (path) => path.filter((key) => key !== ".").at(-1) ?? "nothing can be said";

function table(parent, title, lines) {
  const found = make(parent, "table");
  make(found, "caption", "", title);
  for (const [name, probability] of lines) {
    const row = make(found, "tr");
    make(row, "td", "", name);
    make(row, "td", "number", percent(probability));
    const meter = make(make(row, "td"), "meter");
    meter.value = probability ?? 0;
    meter.ariaLabel = `${name}: ${percent(probability)}`;
  }
}

function show(place, found) {
  place.querySelector(".waiting")?.remove();
  if (found.error) {
    make(place, "p", "error", `not answered: ${found.error}`);
    return;
  }
  const sure = found.answer.length ? `, ${percent(found.answer_probability)}` : ""; // the root is
  make(place, "p", "answer", `${last(found.answer)}${sure}`);
  make(place, "p", "path", joined(found.answer) || found.root);
  const [best] = found.classes;
  const above = found.answer.every((key, i) => key === best.path[i]);
  if (above && found.answer.length < best.path.length) {
    make(place, "p", "note", `backed off from ${last(best.path)} (${percent(best.probability)}):`
      + " the class alone is not certain enough");
  } else if (!above) {
    make(place, "p", "note", `the most probable class is ${last(best.path)}, the rule answers`
      + " otherwise");
  }
  const below = best.path.map((key, i) => [
    "\u00a0\u00a0\u00a0".repeat(i) + (key === "." ? "the class itself" : key), found.levels[i] ?? null,
  ]);
  table(place, "Down to the most probable class", below);
  table(place, "Most probable classes", found.classes.map((c) => [joined(c.path), c.probability]));
  if (found.cover !== null) make(place, "p", "", `one of: ${found.cover || "none is probable enough"}`);
  if (found.novelty === null) {
    make(place, "p", "hint", "novelty: unknown, the run has no validation images");
  } else {
    const strange = found.novelty <= 0.05;
    make(place, "p", strange ? "note" : "hint",
      `novelty_p ${found.novelty.toPrecision(3)}, the share of the run's validation images that are`
      + ` as far from all classes${strange ? ": look whether it is one of these classes" : ""}`);
  }
}

function count() {
  const done = rows.filter((row) => row !== undefined).length;
  byId("state").textContent = rows.length ? `${done} of ${rows.length} images` : "No image yet.";
  byId("save").disabled = !titles || done < rows.length;
  byId("clear").disabled = !rows.length;
}

function add(files) {
  for (const file of files) {
    const item = make(byId("answers"), "li", "image");
    const picture = make(make(item, "div", "picture"), "img");
    picture.alt = "";
    picture.onerror = () => picture.remove(); // of a format that the browser does not show
    picture.src = URL.createObjectURL(file);
    const text = make(item, "div", "text");
    make(text, "div", "file", file.name);
    make(text, "p", "waiting", "waiting");
    waiting.push({ file, text, place: rows.push(undefined) - 1, round });
  }
  count();
  if (!working) work();
}

async function ask(file) {
  if (file.size > largest) {
    return { error: `the file is larger than ${largest / 2 ** 20} MiB; answer it by predict.py` };
  }
  let answer;
  try {
    const name = encodeURIComponent(file.name.toWellFormed ? file.name.toWellFormed() : file.name);
    const headers = { "X-File-Name": name, "Content-Type": "application/octet-stream" };
    answer = await fetch("/answer", { method: "POST", headers, body: file });
  } catch {
    return { error: "the program that answers cannot be reached; is it still running?" };
  }
  const found = await answer.json();
  return answer.ok ? found : { error: found.refused };
}

async function work() {
  working = true;
  while (waiting.length) {
    const { file, text, place, round: asked } = waiting.shift();
    const found = await ask(file);
    if (asked !== round) continue;
    const [title, row] = found.csv ? found.csv : ["", ""];
    titles ||= title;
    rows[place] = row;
    show(text, found);
    count();
  }
  working = false;
}

// a folder gives its files, at any depth
async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) break;
    for (const one of some) found.push(...await filesOf(one));
  }
  return found;
}

async function dropped(transfer) {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return add(files);
  for (const entry of entries) add(await filesOf(entry));
}

const drop = byId("drop");
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault(); // or the browser leaves the page for the image
  drop.classList.remove("over");
  dropped(event.dataTransfer);
});
byId("choose").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
byId("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([titles, ...rows], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
byId("clear").addEventListener("click", () => {
  round += 1;
  waiting = [];
  rows.length = 0;
  for (const image of byId("answers").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  byId("answers").replaceChildren();
  count();
});
