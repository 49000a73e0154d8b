// The class tree beside the tree that class vectors make by themselves, a line from each class to
// itself. The class tree stands still, so that the trees of several methods can be compared.
const GAP = 7; // pixels between a branch and a name
const READABLE = 8; // pixels of a row from which names are shown

function depths(parent) {
  const found = [];
  parent.forEach((above, v) => { found[v] = above < 0 ? 0 : found[above] + 1; });
  return found;
}

// places of the nodes of a tree, parents first: tips in given rows, an inner node amid its children
function rowsOf(parent, rowOfTip) {
  const low = parent.map(() => Infinity), high = parent.map(() => -Infinity);
  const row = parent.map(() => null);
  for (let v = parent.length - 1; v >= 0; v -= 1) {
    row[v] = rowOfTip.has(v) ? rowOfTip.get(v) : (low[v] + high[v]) / 2;
    if (parent[v] >= 0 && Number.isFinite(row[v])) {
      low[parent[v]] = Math.min(low[parent[v]], row[v]);
      high[parent[v]] = Math.max(high[parent[v]], row[v]);
    }
  }
  return { row, low, high };
}

const ruler = document.createElement("canvas").getContext("2d");
function widthOf(text, size) {
  ruler.font = `${size}px system-ui, sans-serif`;
  return ruler.measureText(text).width;
}

// a name in so many pixels: cut in the middle, as names of relatives begin and end alike
function fitted(text, size, room) {
  let [shown, kept] = [text, text.length];
  while (kept > 2 && widthOf(shown, size) > room) {
    kept -= 1;
    shown = `${text.slice(0, Math.ceil(kept / 2))}…${text.slice(-Math.floor(kept / 2))}`;
  }
  return shown;
}

// a name from the place where it differs from others, behind its first letters
function fittedFrom(start, text, size, room) {
  const head = start > 4 ? `${text.slice(0, 3)}…` : "";
  const rest = text.slice(head ? start - 1 : 0);
  let [shown, kept] = [head + rest, rest.length];
  while (kept > 2 && widthOf(shown, size) > room) {
    kept -= 1;
    shown = `${head}${rest.slice(0, kept)}…`;
  }
  return shown;
}

// the names of a column, those that would look alike cut so that what differs stays
function fittedApart(names, size, room) {
  const shown = names.map((name) => fitted(name, size, room));
  for (let round = 0; round < 6; round += 1) {
    const alike = new Map();
    shown.forEach((text, i) => alike.set(text, [...(alike.get(text) || []), i]));
    for (const group of alike.values()) {
      const [first, ...others] = group.map((i) => names[i]);
      let start = 0;
      while (start < first.length && others.every((name) => name[start] === first[start])) start += 1;
      if (others.length) group.forEach((i) => { shown[i] = fittedFrom(start, names[i], size, room); });
    }
  }
  return shown;
}

// how wide a column of names is, and the names in it, which all differ
function nameColumn(names, size) {
  const longest = Math.max(16, ...names.map((name) => widthOf(name, size))) + 10;
  let column = Math.min(150, longest);
  for (; ; column = Math.min(column + 30, longest)) {
    const shown = fittedApart(names, size, column - 6);
    if (column === longest || new Set(shown).size === names.length) return [column, shown];
  }
}

function pathOf(tree, node) {
  const steps = [];
  for (let v = node; v > 0; v = tree.parent[v]) steps.unshift(tree.names[v]);
  return steps.join(" / ") || tree.names[node];
}

// what a branch of the learned tree holds, in words
function branchText(tree, total, learned, v) {
  const [taxon, size, shared] = [learned.taxon[v], learned.size[v], learned.shared[v]];
  const name = taxon === 0 ? "all classes" : pathOf(tree, taxon);
  const whole = shared === size && shared === total[taxon];
  const held = whole ? `these are ${name}` : `nearest to ${name}: ${shared} of its ${total[taxon]}`;
  return `${size} classes, ${held}; joined at ${learned.join[v]}`;
}

function tanglegram(tree, learned, pitch) {
  const size = Math.min(11.5, Math.max(6, pitch / 1.22));
  const named = pitch >= READABLE;
  const slim = innerWidth < 600; // then superclasses say their names only under a finger
  const width = (text) => widthOf(text, size);
  const leafNames = tree.leaves.map((v) => tree.names[v]);
  const inner = tree.parent.map((_, v) => v);
  const isLeaf = new Set(tree.leaves);
  const depth = depths(tree.parent);
  const top = 34;
  const y = (row) => top + (row + 0.5) * pitch;
  // the class tree: a column for each depth, wide enough for the names of its inner nodes, or for
  // what tells them apart
  const x = [10];
  const shown = new Map();
  for (let d = 1, deepest = Math.max(...depth); d < deepest; d += 1) {
    const here = inner.filter((v) => depth[v] === d && !isLeaf.has(v));
    const [column, names] = named && !slim ? nameColumn(here.map((v) => tree.names[v]), size) : [22, []];
    x[d] = x[d - 1] + column;
    here.forEach((v, i) => shown.set(v, names[i]));
  }
  const tips = x[x.length - 1] + 26;
  const label = named ? Math.max(...leafNames.map(width), 10) + 2 * GAP : GAP;
  const between = Math.min(260, Math.max(120, tree.leaves.length * pitch / 8)) / (slim ? 2 : 1);
  const line = [tips + label, tips + label + between];
  const right = [line[1] + label, line[1] + label + (slim ? 130 : 260)];
  const total = tree.parent.map(() => 0);
  for (const leaf of tree.leaves) for (let v = leaf; v >= 0; v = tree.parent[v]) total[v] += 1;
  // the learned tree: a node at the distance at which its branches join, a name beside those that
  // are a superclass
  const far = Math.max(...learned.join) || 1;
  const place = scale(learned.start, far, right[0], right[1]);
  const at = (v) => (learned.item[v] >= 0 ? right[0] : place(learned.join[v]));
  const exact = (v) => learned.item[v] < 0 && learned.shared[v] === learned.size[v]
    && learned.shared[v] === total[learned.taxon[v]];
  const title = (v) => (exact(v) && named && learned.taxon[v] > 0 ? tree.names[learned.taxon[v]] : "");
  const height = top + tree.leaves.length * pitch + 46;
  const all = Math.max(right[1] + 14, ...learned.parent.map((_, v) => at(v) + 2 * GAP + width(title(v))));
  const picture = svg("svg", { viewBox: `0 0 ${all} ${height}`, width: all, height, class: "tangle",
    role: "img", "aria-label": "class tree beside the learned tree" });
  const add = (...parts) => picture.append(...parts);
  const colour = (v) => tree.colours[v] || PALETTE.ink;
  const text = (at, up, content, attributes = {}) => svg("text",
    { x: at, y: up, style: `font-size:${size}px`, ...attributes }, content);

  const left = new Map(tree.order.map((c, row) => [tree.leaves[c], row]));
  const mine = rowsOf(tree.parent, left);
  const across = (v) => (isLeaf.has(v) ? tips : x[depth[v]]);
  tree.parent.forEach((above, v) => {
    if (!isLeaf.has(v)) {
      add(svg("path", { d: `M${x[depth[v]]} ${y(mine.low[v])}V${y(mine.high[v])}`, stroke: colour(v) }));
    }
    if (above < 0) return;
    add(svg("path", { d: `M${x[depth[above]]} ${y(mine.row[v])}H${across(v)}`, stroke: colour(v) }));
    if (isLeaf.has(v) || !named || slim) return;
    const name = text(x[depth[above]] + 3, y(mine.row[v]) - 3, shown.get(v), { class: "taxon" });
    explain(name, `${pathOf(tree, v)}: ${total[v]} classes`);
    add(name);
  });

  let next = 0;
  const rows = new Map();
  learned.item.forEach((item, v) => { if (item >= 0) { rows.set(v, next); next += 1; } });
  const shift = (tree.leaves.length - next) / 2; // classes without a vector
  const own = rowsOf(learned.parent, rows);
  const up = (row) => y(row + shift);
  const shade = (v) => (learned.item[v] >= 0 ? colour(tree.leaves[learned.item[v]]) : sole[v] || PALETTE.ink);
  const sole = learned.parent.map(() => undefined);
  for (let v = learned.parent.length - 1; v >= 0; v -= 1) {
    const mineToo = shade(v);
    const above = learned.parent[v];
    if (above >= 0) sole[above] = sole[above] === undefined || sole[above] === mineToo ? mineToo : PALETTE.ink;
  }
  const marks = [];
  learned.parent.forEach((above, v) => {
    if (learned.item[v] < 0) {
      add(svg("path", { d: `M${at(v)} ${up(own.low[v])}V${up(own.high[v])}`, stroke: shade(v) }));
      const mark = svg("circle", { cx: at(v), cy: up(own.row[v]), r: 3.2, role: "img",
        fill: exact(v) ? shade(v) : "white", stroke: shade(v), "aria-label": tree.names[learned.taxon[v]] });
      if (named) mark.setAttribute("tabindex", marks.length ? "-1" : "0");
      explain(mark, branchText(tree, total, learned, v));
      marks.push(mark);
      if (title(v)) marks.push(text(at(v) + 5, up(own.row[v]) - 3, title(v), { class: "taxon" }));
    }
    if (above >= 0) add(svg("path", { d: `M${at(above)} ${up(own.row[v])}H${at(v)}`, stroke: shade(v) }));
  });

  const rowOf = new Map([...rows].map(([v, row]) => [learned.item[v], row]));
  tree.leaves.forEach((v, c) => {
    const from = y(left.get(v));
    const made = svg("g", { class: "leaf", "data-name": tree.names[v].toLowerCase() });
    if (rowOf.has(c)) {
      const to = up(rowOf.get(c));
      const middle = (line[0] + line[1]) / 2;
      made.append(svg("path", { d: `M${line[0]} ${from}C${middle} ${from} ${middle} ${to} ${line[1]} ${to}`, stroke: colour(v) }));
      if (named) made.append(text(line[1] + GAP, to + size * 0.36, tree.names[v]));
    }
    if (named) made.append(text(line[0] - GAP, from + size * 0.36, tree.names[v], { "text-anchor": "end" }));
    explain(made, pathOf(tree, v));
    add(made);
  });
  add(...marks);
  const [steps, digits] = ticks(learned.start, far, 4);
  const bottom = height - 32;
  add(svg("path", { d: `M${right[0]} ${bottom}H${right[1]}`, stroke: PALETTE.ink }));
  steps.forEach((t) => add(svg("path", { d: `M${place(t)} ${bottom}v4`, stroke: PALETTE.ink }),
    svg("text", { x: place(t), y: bottom + 15, "text-anchor": "middle" }, t.toFixed(digits))));
  const under = Math.min((right[0] + right[1]) / 2, all - 4 - widthOf(learned.unit, 11.5) / 2);
  add(svg("text", { x: under, y: bottom + 29, "text-anchor": "middle" }, learned.unit),
    svg("text", { x: 10, y: 16, class: "head" }, "class tree"),
    svg("text", { x: right[1], y: 16, "text-anchor": "end", class: "head" }, "tree of the class vectors"));
  return picture;
}

// the pictures of several methods with what chooses, enlarges and searches
function tanglegrams(tree, learned, names, place) {
  const there = names.map((_, i) => i).filter((i) => learned[i]);
  if (!there.length) { place.replaceChildren("No run has class vectors."); return; }
  let [chosen, pitch] = [there[0], tree.leaves.length > 300 ? 8 : 15];
  const body = element("div", { class: "wide grow", tabindex: "0" });
  const said = element("p", { class: "meaning", role: "status" });
  const search = element("input", { type: "search", placeholder: "part of a class's name", "aria-label": "class to find" });
  const size = (text, factor, label) => button(text, () => {
    pitch = Math.min(30, Math.max(4, pitch * factor));
    draw();
  }, { "aria-label": label, title: label });
  function find() {
    const wanted = search.value.trim().toLowerCase();
    let first = null;
    for (const leaf of body.querySelectorAll(".leaf")) {
      const found = wanted !== "" && leaf.dataset.name.includes(wanted);
      leaf.classList.toggle("found", found);
      if (found && !first) first = leaf;
    }
    if (first) body.scrollTop = first.getBBox().y - body.clientHeight / 2;
  }
  function draw() {
    const own = learned[chosen];
    const pairs = own.item.filter((item) => item >= 0).length;
    said.textContent = `${own.crossings} of ${(pairs * (pairs - 1)) / 2} pairs of lines cross;`
      + " the fewer, the more alike the trees. Filled dots: branches that hold exactly one superclass.";
    body.replaceChildren(tanglegram(tree, own, pitch));
    find();
  }
  search.addEventListener("input", find);
  // the dots are one stop for the Tab key; arrow keys go from dot to dot
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const dots = [...body.querySelectorAll("circle[tabindex]")];
    const at = dots.indexOf(event.target);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = dots[at + step] || event.target;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  const key = element("ul", { class: "legend" }, ...tree.groups.map(([name, colour]) => element("li", {},
    svg("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" },
      svg("path", { d: "M1 8h14", stroke: colour, "stroke-width": 4 })), ` ${name}`)));
  place.append(element("p", { class: "choices" },
    ...(names.length < 2 ? [] : [choice("Method", there.map((i) => [i, names[i]]), chosen,
      (value) => { chosen = +value; draw(); })]),
    element("label", {}, "Find ", search),
    element("span", {}, size("−", 0.8, "smaller"), " ", size("+", 1.25, "larger"))), said, key, body);
  draw();
}
