// The page that compares methods: sorts its table, draws seeds, intervals and paired differences,
// the scatter, and small multiples.
// eight colours that everybody can tell apart; with the shape of the mark 40 methods differ
const COLOURS = PALETTE.series;
const SHAPES = ["circle", "square", "diamond", "triangle", "cross"];
const finite = (value) => value !== null && Number.isFinite(value);
const number = (value, digits = 3) => {
  if (!finite(value)) return "–";
  const size = Math.abs(value);
  return value.toFixed(size < 10 ? digits : size < 100 ? 2 : 1);
};
const pText = (p) => (!finite(p) ? "–" : p < 0.001 ? p.toExponential(1) : p.toFixed(3));

// sorts a table that is there, by data-value where cells have one
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  for (const head of heads) {
    const inside = element("button", { type: "button" }, ...head.childNodes);
    const said = head.dataset.meaning || head.title;
    head.removeAttribute("title");
    if (said) explain(inside, said);
    head.append(inside);
  }
  const body = table.tBodies[0];
  sortHeads(heads, (column) => heads[column].dataset.first === "descending", (column, falling) => {
    const key = (row) => {
      const { value } = row.cells[column].dataset;
      if (value === undefined) return row.cells[column].textContent;
      return value === "" ? null : Number(value);
    };
    body.append(...[...body.rows].sort((a, b) => ordered(key(a), key(b), falling)));
  });
}

function range(values, margin = 0.06) {
  const found = values.filter(finite);
  if (!found.length) return [0, 1];
  const [low, high] = [Math.min(...found), Math.max(...found)];
  const more = (high - low || Math.abs(high) || 1) * margin;
  return [low - more, high + more];
}

function mark(shape, x, y, size, attributes) {
  const s = size;
  const paths = {
    square: `M${x - s} ${y - s}h${2 * s}v${2 * s}h${-2 * s}z`,
    diamond: `M${x} ${y - s * 1.3}l${s * 1.3} ${s * 1.3}l${-s * 1.3} ${s * 1.3}l${-s * 1.3} ${-s * 1.3}z`,
    triangle: `M${x} ${y - s * 1.2}l${s * 1.2} ${s * 2.1}h${-2.4 * s}z`,
    cross: `M${x - s} ${y - s * 0.4}h${s * 0.6}v${-s * 0.6}h${s * 0.8}v${s * 0.6}h${s * 0.6}v${s * 0.8}h${-s * 0.6}v${s * 0.6}h${-s * 0.8}v${-s * 0.6}h${-s * 0.6}z`,
  };
  return shape === "circle" ? svg("circle", { cx: x, cy: y, r: s, ...attributes })
    : svg("path", { d: paths[shape], ...attributes });
}

const look = (row) => [COLOURS[row % COLOURS.length], SHAPES[Math.floor(row / COLOURS.length) % SHAPES.length]];

// a strip of one row: an interval as a line, the mean as a mark, single values as points
function strip(low, high, values, mean, lower, upper, row, zero, said) {
  const [width, height] = [220, 22];
  const x = scale(low, high, 6, width - 6);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", tabindex: "0", "aria-label": said });
  const [colour, shape] = look(row);
  if (zero) picture.append(svg("line", { x1: x(0), x2: x(0), y1: 0, y2: height, class: "zero" }));
  if (finite(lower)) picture.append(svg("line", { x1: x(lower), x2: x(upper), y1: 9, y2: 9, stroke: colour, "stroke-width": 2 }));
  values.filter(finite).forEach((value) => picture.append(svg("circle", { cx: x(value), cy: 17, r: 2.4, fill: colour, "fill-opacity": 0.6 })));
  if (finite(mean)) picture.append(mark(shape, x(mean), 9, 4, { fill: colour, stroke: "#fff" }));
  explain(picture, said);
  return picture;
}

function measurePart(group, place) {
  let measure = 0;
  let reference = 0;
  const head = element("p", { class: "choices" });
  const body = element("div", { class: "wide" });
  const meaning = element("p", { class: "meaning" });
  head.append(
    choice("Measure", group.measures.map((m, i) => [i, m.name]), 0, (value) => { measure = +value; draw(); }),
    choice("Reference", group.rows.map((name, i) => [i, name]), 0, (value) => { reference = +value; draw(); }));
  place.append(head, meaning, body);
  function draw() {
    const m = group.measures[measure];
    meaning.textContent = `${m.meaning} ${m.direction ? `${m.direction[0].toUpperCase()}${m.direction.slice(1)} is better.` : ""} Range: ${m.range}.`;
    const of = group.rows.map((_, row) => group.values[row][measure]);
    const tests = group.tests[reference].map((row) => row[measure]);
    const [low, high] = range(of.flatMap((v) => [...v.seeds.map((s) => s[1]), v.lower, v.upper]));
    const [dlow, dhigh] = range([0, ...tests.flatMap((t) => [t.mean, t.lower, t.upper, ...t.differences])]);
    const columns = [["method", ""], ["seeds, mean, 95 % interval", ""], ["mean", ""], ["± SD", ""], ["seeds", ""],
      ["difference to the reference", ""], ["difference", ""], ["p", "two-sided p of the paired t-test over common seeds"],
      ["p\u00a0(Holm)", "corrected by Holm for all methods that are compared with the reference in this measure"]];
    const first = m.direction === "lower" ? "ascending" : "descending";
    const row = element("tr", {}, ...columns.map(([name, text], i) => element("th", {
      class: i === 0 ? "label" : "", "data-meaning": text, "data-first": i === 2 || i === 1 ? first : "ascending" }, name)));
    const rows = group.rows.map((name, i) => {
      const v = of[i];
      const t = tests[i];
      const seeds = v.seeds.map(([seed, value]) => `seed ${seed}: ${number(value, 4)}`).join(", ");
      const said = `${name}: ${seeds}${finite(v.lower) ? `; 95 % interval [${number(v.lower, 4)}, ${number(v.upper, 4)}]` : ""}`;
      const dsaid = i === reference ? "the reference"
        : `${name} minus ${group.rows[reference]}: ${t.differences.map((d) => number(d, 4)).join(", ") || "no common seeds"}${finite(t.lower) ? `; 95 % interval [${number(t.lower, 4)}, ${number(t.upper, 4)}]` : ""}`;
      const cell = (value, text, css = "") => element("td", { "data-value": finite(value) ? value : "", class: css }, text);
      const values = element("td", { "data-value": finite(v.mean) ? v.mean : "" }, strip(low, high, v.seeds.map((s) => s[1]), v.mean, v.lower, v.upper, i, false, said));
      const against = element("td", { "data-value": finite(t.mean) ? t.mean : "" },
        i === reference ? "reference" : strip(dlow, dhigh, t.differences, t.mean, t.lower, t.upper, i, true, dsaid));
      return element("tr", {}, element("td", { class: "label" }, name), values, cell(v.mean, number(v.mean)), cell(v.sd, number(v.sd)), cell(v.seeds.length, String(v.seeds.length)),
        against, cell(t.mean, i === reference ? "" : number(t.mean)), cell(t.p, i === reference ? "" : pText(t.p)), cell(t.holm, i === reference ? "" : pText(t.holm), t.holm < 0.05 ? "sure" : ""));
    });
    const table = element("table", { class: "fixed" }, element("thead", {}, row), element("tbody", {}, ...rows));
    sortable(table);
    body.replaceChildren(table);
  }
  draw();
}

function axes(picture, box, xs, ys, xname, yname, whole = false) {
  const [left, top, right, bottom] = box;
  const x = scale(xs[0], xs[1], left, right);
  const y = scale(ys[0], ys[1], bottom, top);
  let [tx, dx] = ticks(xs[0], xs[1], Math.max(4, (right - left) / 90));
  if (whole && xs[1] - xs[0] < 8) [tx] = ticks(xs[0], xs[1], 8); // every height
  if (whole) [tx, dx] = [[...new Set(tx.map(Math.round))].filter((t) => t >= xs[0] && t <= xs[1]), 0];
  const [ty, dy] = ticks(ys[0], ys[1], Math.max(2, (bottom - top) / 40));
  tx.forEach((t) => picture.append(svg("line", { x1: x(t), x2: x(t), y1: top, y2: bottom, class: "grid" }),
    svg("text", { x: x(t), y: bottom + 16, "text-anchor": "middle" }, t.toFixed(dx))));
  ty.forEach((t) => picture.append(svg("line", { x1: left, x2: right, y1: y(t), y2: y(t), class: "grid" }),
    svg("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, t.toFixed(dy))));
  if (xname) picture.append(svg("text", { x: (left + right) / 2, y: bottom + 36, "text-anchor": "middle" }, xname));
  if (yname) picture.append(svg("text", { x: -(top + bottom) / 2, y: 14, transform: "rotate(-90)", "text-anchor": "middle" }, yname));
  return [x, y];
}

function better(a, b, measures, pair) {
  // whether a is at least as good in both and better in one
  let strictly = false;
  for (let k = 0; k < 2; k += 1) {
    const sign = measures[pair[k]].direction === "lower" ? -1 : 1;
    if (sign * a[k] < sign * b[k]) return false;
    if (sign * a[k] > sign * b[k]) strictly = true;
  }
  return strictly;
}

function scatterPart(group, place) {
  const names = group.measures.map((m) => m.name);
  const find = (wanted, other) => { const at = names.indexOf(wanted); return at < 0 ? other : at; };
  const lower = group.measures.findIndex((m) => m.direction === "lower");
  const pair = [find("accuracy", 0), find("severity", lower < 0 ? names.length - 1 : lower)];
  const body = element("div");
  const options = names.map((name, i) => [i, name]);
  place.append(element("p", { class: "choices" },
    choice("Across", options, pair[0], (value) => { pair[0] = +value; draw(); }),
    choice("Up", options, pair[1], (value) => { pair[1] = +value; draw(); })), body);
  function draw() {
    const width = Math.max(320, Math.min(place.clientWidth || 900, 900));
    const height = Math.min(520, width);
    const points = group.rows.map((_, row) => pair.map((k) => group.values[row][k].mean));
    const shown = points.map((p, i) => i).filter((i) => points[i].every(finite));
    if (!shown.length) { body.replaceChildren("No method has both measures."); return; }
    const ranked = pair.every((k) => group.measures[k].direction);
    const front = ranked ? shown.filter((i) => !shown.some((j) => better(points[j], points[i], group.measures, pair))) : [];
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${names[pair[0]]} against ${names[pair[1]]}` });
    const title = (k) => names[k] + ({ higher: " (higher is better)", lower: " (lower is better)" }[group.measures[k].direction] || "");
    const [x, y] = axes(picture, [64, 14, width - 14, height - 48], range(shown.map((i) => points[i][0]), 0.12), range(shown.map((i) => points[i][1]), 0.12), title(pair[0]), title(pair[1]));
    const line = [...front].sort((a, b) => points[a][0] - points[b][0]);
    picture.append(svg("polyline", { points: line.map((i) => `${x(points[i][0])},${y(points[i][1])}`).join(" "), class: "front" }));
    shown.forEach((i) => {
      const [colour, shape] = look(i);
      const on = front.includes(i);
      const group_ = svg("g", { tabindex: "0", role: "img", "aria-label": group.rows[i] });
      group_.append(mark(shape, x(points[i][0]), y(points[i][1]), on ? 6 : 5, { fill: colour, stroke: on ? "#000" : "#fff", "stroke-width": on ? 1.5 : 1 }));
      explain(group_, `${group.rows[i]}: ${names[pair[0]]} ${number(points[i][0], 4)}, ${names[pair[1]]} ${number(points[i][1], 4)}${on ? "; on the Pareto front" : ""}`);
      picture.append(group_);
    });
    body.replaceChildren(picture, legend(group, shown, front));
  }
  draw();
}

function legend(group, shown, front) {
  return element("ul", { class: "legend" }, ...shown.map((i) => {
    const [colour, shape] = look(i);
    const picture = svg("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" }, mark(shape, 8, 8, 5, { fill: colour }));
    return element("li", {}, picture, ` ${group.rows[i]}${front.includes(i) ? " (front)" : ""}`);
  }));
}

// a panel a method: its own line in colour, those of the others in grey
function multiples(group, lines, xname, yrange, place, said) {
  const xs = range(lines.flatMap((l) => l.x), 0.03);
  const all = lines.flatMap((l) => l.y.filter(finite));
  const ys = yrange || range(all, 0.05);
  if (!all.length) { place.replaceChildren("No run has these values."); return; }
  const drawn = lines.map((line, row) => ({ ...line, row })).filter((line) => line.y.some(finite));
  place.replaceChildren(...drawn.map((own) => {
    const [width, height] = [250, 170];
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": group.rows[own.row] });
    const [x, y] = axes(picture, [44, 8, width - 8, height - 24], xs, ys, "", "", true);
    const path = (line) => line.x.map((v, i) => [v, line.y[i]]).filter((p) => finite(p[1]))
      .map((p) => `${x(p[0]).toFixed(1)},${Math.min(Math.max(y(p[1]), 8), height - 24).toFixed(1)}`).join(" ");
    drawn.filter((line) => line.row !== own.row).forEach((line) => picture.append(svg("polyline", { points: path(line), class: "other", stroke: PALETTE.others })));
    picture.append(svg("polyline", { points: path(own), class: "own", stroke: look(own.row)[0] }));
    own.x.forEach((v, i) => {
      if (!finite(own.y[i])) return;
      const dot = svg("circle", { cx: x(v), cy: Math.min(Math.max(y(own.y[i]), 8), height - 24), r: own.x.length > 60 ? 2 : 3, fill: look(own.row)[0], "fill-opacity": own.x.length > 30 ? 0 : 1 });
      explain(dot, `${group.rows[own.row]}, ${xname} ${v}: ${number(own.y[i], 4)}${own.note?.[i] ? ` ${own.note[i]}` : ""}`);
      picture.append(dot);
    });
    return element("figure", { class: "panel" }, element("figcaption", {}, group.rows[own.row]), picture);
  }));
  if (said) place.append(element("p", { class: "meaning" }, said));
}

function heightsPart(group, place) {
  const body = element("div", { class: "panels" });
  place.append(body);
  multiples(group, group.heights, "height", group.heightRange, body, "");
}

function curvesPart(group, place) {
  const body = element("div", { class: "panels" });
  const titles = Object.keys(group.curves);
  place.append(element("p", { class: "choices" }, choice("Curve", titles.map((t) => [t, t]), titles[0], draw)), body);
  function draw(title) { multiples(group, group.curves[title], "epoch", null, body, ""); }
  if (titles.length) draw(titles[0]); else place.replaceChildren("The runs have no epochs.");
}

function filter(box) {
  const table = box.querySelector("table");
  const input = element("input", { type: "search", size: 24, placeholder: "part of a method's name", "aria-label": "methods to show" });
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of table.tBodies[0].rows) {
      const name = row.cells[0].textContent.toLowerCase();
      row.hidden = !words.every((word) => name.includes(word));
    }
  });
  box.prepend(element("p", { class: "choices" }, element("label", {}, "Show ", input)));
}

function treesPart(group, place) {
  tanglegrams(group.tree, group.learned, group.rows, place);
}

const PARTS = { trees: treesPart, measure: measurePart, scatter: scatterPart, heights: heightsPart, curves: curvesPart };
document.querySelectorAll("[data-sortable]").forEach((box) => { sortable(box.querySelector("table")); filter(box); });
document.querySelectorAll("[data-part]").forEach((place) => PARTS[place.dataset.part](DATA[+place.dataset.group], place));
