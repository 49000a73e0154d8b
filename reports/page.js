// What the scripts of all pages share. Every text goes in as text, never as HTML.
// PALETTE, the colours of figures/palette.py, stands before it.
const DATA = JSON.parse(document.getElementById("data").textContent);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function button(text, action, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", action);
  return made;
}

// names and files, whose lines rather break behind these signs than within a word
function breakable(text) {
  return text.split(/(?<=[_/])/).flatMap((part, i) => (i ? [element("wbr"), part] : [part]));
}

// ---- explanations, in data-tip: under the pointer, at the focus, or where a finger touched
function explain(target, text) { target.setAttribute("data-tip", text); }

const tip = element("div", { class: "tip", role: "status" });
tip.hidden = true;
document.body.append(tip);

function showTip(event) {
  const target = event.target.closest && event.target.closest("[data-tip]");
  tip.hidden = !target;
  if (!target) return;
  tip.textContent = target.dataset.tip;
  const box = target.getBoundingClientRect();
  const drawn = target instanceof SVGElement && event.clientX; // may reach across the page
  const [left, top, bottom] = drawn
    ? [event.clientX + 12, event.clientY - 8, event.clientY + 12] : [box.left, box.top, box.bottom];
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
  const below = bottom + 4;
  const above = top - tip.offsetHeight - 4;
  tip.style.top = `${Math.max(4, below + tip.offsetHeight > innerHeight ? above : below)}px`;
}
for (const kind of ["pointerover", "focusin", "click"]) document.addEventListener(kind, showTip);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

// ---- paper: a table that is wider than a sheet is made smaller, as nothing scrolls there
const SHEET = 660; // pixels between the margins of A4 and of US letter, about
addEventListener("beforeprint", () => {
  for (const box of document.querySelectorAll("div.wide")) {
    const table = box.querySelector("table");
    if (!table) continue;
    box.style.width = `${SHEET}px`;
    table.style.zoom = Math.min(1, SHEET / table.scrollWidth);
    box.style.width = "";
  }
});
addEventListener("afterprint", () => {
  for (const table of document.querySelectorAll("div.wide table")) table.style.zoom = "";
});

// ---- sorting: headings with a button sort by their column, and turn it at the next click
function sortHeads(heads, fallsFirst, sort) {
  heads.forEach((head, column) => {
    const pressed = head.querySelector("button");
    if (!pressed) return;
    pressed.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const falling = before ? before === "ascending" : fallsFirst(column);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      sort(column, falling);
    });
  });
}

// numbers or texts in order, those that are not there last either way
function ordered(a, b, falling) {
  if (a === null || b === null) return (a === null) - (b === null);
  return (falling ? -1 : 1) * (typeof a === "number" ? a - b : a.localeCompare(b));
}

function choice(label, options, chosen, changed) {
  const list = element("select", { "aria-label": label });
  options.forEach(([value, text]) => {
    const option = element("option", { value }, text);
    option.selected = String(value) === String(chosen);
    list.append(option);
  });
  list.addEventListener("change", () => changed(list.value));
  return element("label", { class: "choice" }, `${label} `, list);
}

function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function ticks(low, high, count = 4) {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) found.push(t);
  return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
}
