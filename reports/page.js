// What the scripts of all pages share. Every text goes in as text, never as HTML.
// PALETTE, the colours of figures/palette.py, stands before it.
const DATA = JSON.parse(document.getElementById("data").textContent);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function button(text, action, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", action);
  return made;
}

// ---- explanations, in data-tip: under the pointer, at the focus, or where a finger touched
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
