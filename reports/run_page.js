// The page of one run: tables that sort and search, and a confusion matrix that opens to images.
const { names, parent, leaves } = DATA.tree;
const IMAGES = DATA.images;
const ROWS = 25; // of a table at first, so that what is below is found
const CARDS = 60; // images of a cell at first
const SIDE = 80; // rows of the confusion matrix; more could not be read
const FEW = 25; // classes that are all shown at first
const RIGHT = PALETTE.right;
const WRONG = PALETTE.wrong;

const className = (c) => names[leaves[c]];
const path = (node) => pathOf(DATA.tree, node);

// ---- images
function picture(place) {
  const source = IMAGES.picture[place];
  return source ? element("img", { src: source, alt: IMAGES.file[place] }) : null;
}

function card(place) {
  const made = element("figure", { class: "card" });
  const image = picture(place);
  if (image) made.append(image);
  made.append(
    element("b", { class: "file" }, ...breakable(IMAGES.file[place])), element("br"),
    `true: ${className(IMAGES.true[place])}`, element("br"),
    `answer: ${className(IMAGES.answer[place])}, probability ${IMAGES.probability[place].toFixed(2)}`,
  );
  return made;
}

function cards(places, into) {
  const grid = element("div", { class: "cards" });
  let shown = 0;
  const more = button("", grow, { class: "more" });
  function grow() {
    grid.append(...places.slice(shown, shown + CARDS).map(card));
    shown = Math.min(shown + CARDS, places.length);
    more.hidden = shown === places.length;
    more.textContent = `show more (${shown} of ${places.length})`;
  }
  grow();
  into.append(grid, more);
}

const classOf = ({ label, narrow, wide }) =>
  [label ? "label" : "", narrow ? "narrow" : "", wide ? "broad" : ""].filter(Boolean).join(" ");

// ---- tables: a column has a name, an explanation, the value that sorts and searches, what is shown
function explore(id, columns, rows) {
  const place = document.getElementById(id);
  if (!place) return;
  if (!rows.length) {
    place.append(element("p", { class: "none" }, "There is none."));
    return;
  }
  let sorted = -1, falling = false, limit = ROWS;
  const search = element("input", { type: "search", "aria-label": "search this table" });
  search.placeholder = "search";
  const said = element("span", { role: "status" });
  const body = element("tbody");
  const heads = columns.map((column) => {
    const head = element("th", { scope: "col", class: classOf(column) });
    const tipped = column.tip ? { "data-tip": column.tip } : {};
    head.append(column.value ? button(column.name, () => {}, tipped) : column.name);
    return head;
  });
  sortHeads(heads, (j) => !columns[j].label, (j, falls) => {
    [sorted, falling] = [j, falls];
    fill();
  });
  const texts = rows.map((row) => columns.filter((column) => column.label && column.value)
    .map((column) => column.value(row)).join("\n").toLowerCase());
  const more = button("", () => { limit += 10 * ROWS; fill(); }, { class: "more" });
  function fill() {
    const wanted = search.value.trim().toLowerCase();
    const chosen = rows.map((_, i) => i).filter((i) => texts[i].includes(wanted));
    if (sorted >= 0) {
      const { value } = columns[sorted];
      chosen.sort((i, k) => ordered(value(rows[i]), value(rows[k]), falling));
    }
    const shown = chosen.length < limit + ROWS ? chosen.length : limit; // no button for a few
    body.replaceChildren(...chosen.slice(0, shown).map((i) => element("tr", {},
      ...columns.map((column) => {
        const cell = element("td", { class: classOf(column) });
        const content = column.show ? column.show(rows[i]) : column.value(rows[i]);
        cell.append(...[content].flat().flatMap((part) =>
          (typeof part === "string" ? breakable(part) : [part ?? "–"])));
        return cell;
      }))));
    said.textContent = `${chosen.length} of ${rows.length} rows`;
    more.hidden = shown === chosen.length;
    more.textContent = `show more rows (${shown} of ${chosen.length} shown)`;
  }
  search.addEventListener("input", () => { limit = ROWS; fill(); });
  fill();
  place.append(
    element("div", { class: "bar" }, search, said),
    element("div", { class: "wide grow", tabindex: "0" },
      element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body)),
    more,
  );
}

// ---- the tables of panels.py: what each kind of cell sorts and searches by, and how it is shown
const PICTURED = IMAGES.picture.some(Boolean);
const named = (node) => element("span", { "data-tip": path(node), class: "name" },
  ...breakable(names[node]));
const same = (value) => value;
const digits = (n) => (value) => (value === null ? "–" : value.toFixed(n));
const examplesOf = leaves.map(() => []);
IMAGES.picture.forEach((source, place) => {
  if (source) examplesOf[IMAGES.true[place]].push(place);
});
const KINDS = {
  image: [
    ...(PICTURED ? [{ name: "image", label: true, narrow: true, show: picture }] : []),
    { label: true, value: (place) => IMAGES.file[place] },
  ],
  examples: PICTURED ? [{ label: true, show: (c) => (examplesOf[c].length
    ? element("div", { class: "row" }, ...examplesOf[c].slice(0, 3).map(picture)) : "–") }] : [],
  node: [{ label: true, value: (node) => (node === null ? "" : names[node]),
    show: (node) => (node === null ? "–" : named(node)) }],
  class: [{ label: true, value: className, show: (c) => named(leaves[c]) }],
  number: [{ value: same }],
  "2 digits": [{ value: same, show: digits(2) }],
  "3 digits": [{ value: same, show: digits(3) }],
  text: [{ label: true, wide: true, value: same }],
};
for (const [id, { columns, rows }] of Object.entries(DATA.tables)) {
  explore(id, columns.flatMap(([name, kind, tip], j) => KINDS[kind].map((column) => ({
    name, tip, ...column,
    value: column.value && ((row) => column.value(row[j])),
    show: column.show && ((row) => column.show(row[j])),
  }))), rows);
}

// ---- the confusion matrix
(function confusion() {
  const place = document.getElementById("confusion");
  if (!place) return;
  const children = names.map(() => []);
  parent.forEach((above, v) => { if (above >= 0) children[above].push(v); });
  const classesBelow = names.map(() => 0);
  for (const leaf of leaves) for (let v = leaf; v >= 0; v = parent[v]) classesBelow[v] += 1;
  let top = 0;
  while (children[top].length === 1) top = children[top][0];
  let open = new Set();
  const everything = () => new Set(children.flatMap((below, v) => (below.length ? [v] : [])));
  const superclasses = () => new Set([top]);
  const start = leaves.length <= FEW ? everything() : superclasses();
  const grid = element("div", { class: "wide grow", tabindex: "0" });
  const said = element("p", { class: "lead", role: "status" });
  const chosen = element("div", { id: "cell" });

  // what is shown, in the order of the tree: open superclasses, which have no cells, and the rest
  function visible() {
    const found = [];
    (function walk(v, depth) {
      const isOpen = children[v].length > 0 && open.has(v);
      if (v !== top || !isOpen) found.push({ node: v, depth, isOpen });
      if (isOpen) for (const child of children[v]) walk(child, depth + (v !== top));
    })(top, 0);
    return found;
  }

  function draw() {
    const shown = visible();
    let entries = shown.filter((entry) => !entry.isOpen);
    const entryOfNode = new Map(entries.map((entry, i) => [entry.node, i]));
    const entryOf = leaves.map((leaf) => {
      let v = leaf;
      while (!entryOfNode.has(v)) v = parent[v];
      return entryOfNode.get(v);
    });
    let merged = 0;
    if (entries.length > SIDE) {
      const mistakes = entries.map(() => 0);
      DATA.confusions.count.forEach((n, k) => {
        const [i, j] = [entryOf[DATA.confusions.true[k]], entryOf[DATA.confusions.answer[k]]];
        if (i !== j) { mistakes[i] += n; mistakes[j] += n; }
      });
      const kept = entries.map((_, i) => i).sort((i, k) => mistakes[k] - mistakes[i] || i - k)
        .slice(0, SIDE).sort((i, k) => i - k);
      merged = entries.length - kept.length;
      const moved = new Map(kept.map((i, k) => [i, k]));
      entryOf.forEach((i, c) => { entryOf[c] = moved.has(i) ? moved.get(i) : kept.length; });
      entries = [...kept.map((i) => entries[i]), { node: -1, depth: 0, isOpen: false }];
    }
    const counts = entries.map(() => new Map());
    const totals = entries.map(() => 0);
    DATA.confusions.count.forEach((n, k) => {
      const [i, j] = [entryOf[DATA.confusions.true[k]], entryOf[DATA.confusions.answer[k]]];
      counts[i].set(j, (counts[i].get(j) || 0) + n);
      totals[i] += n;
    });
    const label = (entry) => (entry.node < 0 ? `${merged} others` : names[entry.node]);
    const head = element("tr", {}, element("td"), ...entries.map((entry) =>
      element("th", { scope: "col", title: entry.node < 0 ? label(entry) : path(entry.node) },
        ...breakable(label(entry)))));
    const position = new Map(entries.map((entry, i) => [entry, i]));
    const lines = [...shown.filter((entry) => entry.isOpen || position.has(entry)),
      ...entries.filter((entry) => entry.node < 0)];
    const rows = lines.map((entry) => {
      const name = element("th", { scope: "row" });
      name.style.paddingLeft = `${Math.min(entry.depth, 6) * 0.8}rem`;
      if (entry.node >= 0) name.title = path(entry.node);
      if (entry.node >= 0 && children[entry.node].length) {
        const toggle = () => {
          if (!open.delete(entry.node)) open.add(entry.node);
          draw();
          const again = grid.querySelector(`button[data-node="${entry.node}"]`);
          if (again) again.focus();
        };
        const sign = `${entry.isOpen ? "▾" : "▸"}\u00a0`;
        name.append(button(sign, toggle,
          { "aria-expanded": entry.isOpen, "data-node": entry.node }));
        name.firstChild.append(...breakable(`${label(entry)} (${classesBelow[entry.node]})`));
      } else name.append(...breakable(label(entry)));
      if (entry.isOpen) return element("tr", { class: "open" }, name);
      const i = position.get(entry);
      return element("tr", {}, name, ...entries.map((other, j) => {
        const cell = element("td");
        const n = counts[i].get(j);
        if (!n) return cell;
        const part = 0.12 + 0.6 * (n / totals[i]);
        cell.style.background = `rgba(${i === j ? RIGHT : WRONG}, ${part.toFixed(3)})`;
        const what = `true ${label(entry)}, answer ${label(other)}: ${n}`;
        cell.append(button(String(n), () => {
          const places = IMAGES.true.map((_, k) => k).filter((k) =>
            entryOf[IMAGES.true[k]] === i && entryOf[IMAGES.answer[k]] === j);
          const listed = places.length < n ? `, ${places.length} of them listed` : "";
          chosen.replaceChildren(element("h3", { tabindex: "-1" }, what + listed));
          cards(places, chosen);
          chosen.firstChild.focus();
        }, { "aria-label": what, title: what }));
        return cell;
      }));
    });
    grid.replaceChildren(element("table", { class: "matrix" },
      element("thead", {}, head), element("tbody", {}, ...rows)));
    grid.querySelectorAll("tbody button").forEach((one, i) => { one.tabIndex = i ? -1 : 0; });
    said.textContent = merged
      ? `${SIDE} rows with the most mistakes; ${merged} others are added up in the last one.` : "";
    chosen.replaceChildren();
  }

  // the matrix is one stop for the Tab key; arrow keys go from number to number
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  grid.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    const from = event.target.closest("tbody button");
    if (!step || !from) return;
    const cell = from.parentElement;
    const lines = [...cell.closest("tbody").rows];
    const away = (one) => one.parentElement.cellIndex - cell.cellIndex;
    let line = cell.parentElement; // up or down, the next one that has a number
    do line = step[0] ? lines[lines.indexOf(line) + step[0]] : line;
    while (step[0] && line && !line.querySelector("button"));
    const found = [...(line ? line.querySelectorAll("button") : [])]
      .filter((one) => step[0] || away(one) * step[1] > 0)
      .sort((a, b) => Math.abs(away(a)) - Math.abs(away(b)));
    event.preventDefault();
    if (!found.length) return;
    from.tabIndex = -1;
    found[0].tabIndex = 0;
    found[0].focus();
  });

  const shows = (set) => () => { open = set(); draw(); };
  const key = element("span", { class: "key" }, "share of the row:");
  for (const [colour, text] of [[RIGHT, "right"], [WRONG, "wrong"]]) {
    const patch = element("i");
    patch.style.background = `rgba(${colour}, 0.6)`;
    key.append(patch, text);
  }
  place.append(
    element("div", { class: "bar" }, button("superclasses", shows(superclasses)),
      button("all classes", shows(everything)), key),
    said, grid, chosen,
  );
  open = start;
  draw();
})();
