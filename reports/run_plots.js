// The plots of the page of one run: maps of embeddings, curves, trees.
const GROUPS = DATA.groups;
const SHOWN_GROUPS = GROUPS.others ? [...GROUPS.own, -1] : GROUPS.own; // -1: those without a colour
const groupOf = (c) => (GROUPS.own.includes(GROUPS.of_class[c]) ? GROUPS.of_class[c] : -1);
const groupName = (g) => literal(g < 0 ? GROUPS.others : GROUPS.names[g]);
const groupColour = (g) => (g < 0 ? PALETTE.others : GROUPS.colours[g]);
const groupSymbol = (g) => (g < 0 ? "circle" : GROUPS.symbols[g]);
const RIGHT_LINE = `rgb(${PALETTE.right})`;
const WRONG_LINE = `rgb(${PALETTE.wrong})`;
const NAMED = innerWidth < 600 ? 0 : 40; // classes named in a map
const LEGIBLE = 7.5; // pixels between two rows of names
const place = (id) => document.getElementById(id);

function note(where, ...texts) {
  for (const text of texts.filter(Boolean)) {
    where.append(element("p", { class: "lead small" }, text));
  }
}

// ---- maps
(function maps() {
  const where = place("map");
  const { views, classes, images, none } = DATA.map;
  if (none) return noPlot(where, none);
  const view = element("select", { "aria-label": "kind of map" },
    ...views.map((one, i) => element("option", { value: i }, one.name)));
  const lit = element("select", { "aria-label": "images to show" },
    element("option", { value: "all" }, "all images"),
    element("option", { value: "wrong" }, "mistakes only"),
    ...classes.map((c) => element("option", { value: c }, className(c))));
  const said = element("p", { class: "lead small" });
  const chosen = element("div");
  where.append(element("div", { class: "bar" }, element("label", {}, "map of ", view),
    element("label", {}, "show ", lit)), said);
  const ofImage = (k) => [IMAGES.file[k], `true: ${className(IMAGES.true[k])}`,
    `answer: ${className(IMAGES.answer[k])}, ${IMAGES.probability[k].toFixed(2)}`]
    .map(literal).join("<br>");

  // names beside few classes; of many, only under the pointer
  const labels = (names) => (classes.length > NAMED ? { text: names } : { text: names,
    mode: "markers+text", textposition: "top center", textfont: { size: 10, color: "#444" } });

  function traces() {
    const { x, y } = views[view.value];
    const made = [];
    SHOWN_GROUPS.forEach((g) => {
      const ofImages = images.map((_, i) => i).filter((i) => groupOf(IMAGES.true[images[i]]) === g);
      const ofClasses = classes.map((_, i) => i).filter((i) => groupOf(classes[i]) === g);
      const common = { type: "scatter", mode: "markers", legendgroup: `g${g}`, hoverinfo: "text",
        name: groupName(g), unselected: { marker: { opacity: 0.06 } } };
      const at = (indices, offset, values) => indices.map((i) => values[i + offset]);
      const keep = lit.value === "all" ? null : ofImages.flatMap((i, j) => {
        const k = images[i];
        const own = lit.value === "wrong" ? IMAGES.true[k] !== IMAGES.answer[k]
          : IMAGES.true[k] === Number(lit.value) || IMAGES.answer[k] === Number(lit.value);
        return own ? [j] : [];
      });
      const kept = lit.value === "all" || lit.value === "wrong" ? null
        : ofClasses.flatMap((i, j) => (classes[i] === Number(lit.value) ? [j] : []));
      made.push({ ...common, showlegend: !ofClasses.length, selectedpoints: keep,
        x: at(ofImages, classes.length, x), y: at(ofImages, classes.length, y),
        customdata: ofImages.map((i) => images[i]), text: ofImages.map((i) => ofImage(images[i])),
        marker: { color: groupColour(g), symbol: groupSymbol(g), size: 7, opacity: 0.65 } });
      made.push({ ...common, showlegend: ofClasses.length > 0, selectedpoints: kept,
        x: at(ofClasses, 0, x), y: at(ofClasses, 0, y),
        ...labels(ofClasses.map((i) => literal(className(classes[i])))),
        marker: { color: groupColour(g), symbol: groupSymbol(g), size: classes.length > 60 ? 9 : 13,
          line: { color: INK, width: 1.3 } } });
    });
    return made;
  }
  const axis = { visible: false, automargin: false };
  const layout = { xaxis: axis, yaxis: { ...axis, scaleanchor: "x" }, dragmode: COARSE ? false
    : "pan", margin: { l: 4, r: 4, t: 30, b: 40 } };
  const box = plot(where, "map of the test images and the classes", innerWidth < 600 ? 480 : 640,
    () => ({ data: traces(), layout, then: () => box.on("plotly_click", ({ points }) => {
      const k = points[0].customdata;
      chosen.replaceChildren(...(k === undefined ? [] : [card(k)]));
    }) }), { displayModeBar: COARSE ? true : "hover" });
  where.append(chosen);
  const say = () => { said.textContent = views[view.value].note; };
  const again = () => { say(); if (box.data) Plotly.react(box, traces(), laidOut(layout)); };
  view.addEventListener("change", again);
  lit.addEventListener("change", again);
  say();
  note(where, DATA.map.note, GROUPS.note);
})();

// ---- curves
(function curves() {
  const { training, operating, risk, reliability } = DATA.curves;
  const line = (x, y, name, colour, more = {}) => ({ type: "scatter", mode: "lines", x, y,
    name, line: { color: colour, width: 2, ...more.line }, ...more.trace });
  const where = place("operating");
  if (operating.none) noPlot(where, operating.none);
  else {
    const grid = element("div", { class: "plots" });
    where.append(grid);
    const values = (one) => one.recall.map((recall, i) =>
      `threshold ${one.threshold[i].toFixed(3)}: ${(100 * one.correct[i]).toFixed(1)} % right, `
      + `recall ${recall.toFixed(3)}`);
    plot(grid, "share of right answers against recall", 340, () => ({
      data: operating.lines.map((one, i) => line(one.recall, one.correct, one.name,
        i ? WRONG_LINE : RIGHT_LINE, { line: { dash: i ? "dash" : "solid" },
          trace: { text: values(one), hoverinfo: "text+name" } })),
      layout: { title: { text: "Answers that back off" },
        xaxis: { title: { text: "recall: share of what the true classes say" }, range: [-0.02, 1.02] },
        yaxis: { title: { text: "share of answers that are right" }, tickformat: ".0%" } },
    }));
    plot(grid, "share of wrong answers against the share of images answered", 340, () => ({
      data: [line(risk.coverage, risk.risk, "surest first", RIGHT_LINE, { trace: {
        text: risk.coverage.map((coverage, i) => `${(100 * coverage).toFixed(1)} % answered, `
          + `${(100 * risk.risk[i]).toFixed(1)} % of them wrong; probability at least `
          + `${risk.confidence[i] === null ? "–" : risk.confidence[i].toFixed(3)}`),
        hoverinfo: "text" } }),
      line([0, 1], [risk.error, risk.error], "in any order", INK,
        { line: { dash: "dash", width: 1 }, trace: { hoverinfo: "y+name" } })],
      layout: { title: { text: `Answers withheld: AURC ${risk.area.toFixed(3)}` },
        xaxis: { title: { text: "coverage: share of images answered" }, range: [-0.02, 1.02],
          tickformat: ".0%" },
        yaxis: { title: { text: "risk: share of answers that are wrong" }, rangemode: "tozero",
          tickformat: ".0%" } },
    }));
    for (const one of reliability.views || []) {
      const filled = one.count.map((_, i) => i).filter((i) => one.count[i] > 0);
      plot(grid, `accuracy against confidence, ${one.name}`, 340, () => ({
        data: [
          { type: "bar", x: filled.map((i) => (one.lower[i] + one.upper[i]) / 2),
            y: filled.map((i) => one.accuracy[i]), width: filled.map(() => 0.06),
            marker: { color: RIGHT_LINE, opacity: 0.8 }, name: "accuracy", hoverinfo: "text",
            textposition: "none", text: filled.map((i) => `${one.count[i]} images of mean `
              + `probability ${one.confidence[i].toFixed(3)}: `
              + `${(100 * one.accuracy[i]).toFixed(1)} % right`) },
          line([0, 1], [0, 1], "as right as it says", INK,
            { line: { dash: "dash", width: 1 }, trace: { hoverinfo: "skip" } })],
        layout: { title: { text: `Calibration: ECE ${one.ece.toFixed(3)}<br>`
            + `<span style="font-size:11px">${literal(one.name)}</span>` },
          margin: { l: 50, r: 12, t: 52, b: 70 },
          xaxis: { title: { text: "probability of the answer" }, range: [0, 1] },
          yaxis: { title: { text: "share of answers that are right" }, range: [0, 1.02],
            tickformat: ".0%" } },
      }));
    }
    note(where, operating.note);
  }
  const { heights } = DATA.curves;
  const meeting = place("heights");
  if (heights.none) noPlot(meeting, heights.none);
  else {
    const bars = (values, name, color, what) => ({ type: "bar", x: heights.height, y: values, name,
      marker: { color }, hoverinfo: "text", text: values.map((share, i) => what(share, i)),
      textposition: "none" });
    const percent = (share) => `${(100 * share).toFixed(1)} %`;
    const box = plot(meeting, "share of the mistakes by height of the common ancestor", 300, () => ({
      data: [
        bars(heights.share, "mistakes of this classifier", WRONG_LINE, (share, i) =>
          `${heights.count[i]} of ${heights.mistakes} mistakes (${percent(share)}) at height `
          + `${heights.height[i]}`),
        bars(heights.random, "wrong answers at random for the same images", PALETTE.others,
          (share, i) => `${percent(share)} expected at height ${heights.height[i]}`)],
      layout: { bargap: 0.3, xaxis: { title: { text: "height of the common ancestor, in edges" },
        dtick: 1 }, yaxis: { title: { text: "share of the mistakes" },
      tickformat: ".0%" }, margin: { l: 50, r: 12, t: 20, b: 70 } },
    }));
    box.style.maxWidth = "46rem"; // few bars
  }
  const trained = place("training-curves");
  if (training.none) return noPlot(trained, training.none);
  const panels = element("div", { class: "plots" });
  trained.append(panels);
  for (const panel of training.panels) {
    plot(panels, `${panel.title} by epoch`, 280, () => ({
      data: panel.lines.map((one, i) => ({ ...line(one.x, one.y, one.name,
        i ? WRONG_LINE : RIGHT_LINE), mode: one.x.length > 40 ? "lines" : "lines+markers",
      marker: { size: 4 }, hovertemplate: "epoch %{x}: %{y:.4g}" })),
      layout: { title: { text: panel.title }, hovermode: "x unified",
        xaxis: { title: { text: "epoch" }, rangemode: "tozero" },
        hoverlabel: { bgcolor: "#fff", font: { color: INK, family: FONT } },
        yaxis: { title: { text: panel.unit } }, showlegend: panel.lines.length > 1,
        shapes: training.best === null ? [] : [{ type: "line", x0: training.best,
          x1: training.best, y0: 0, y1: 1, yref: "paper", line: { dash: "dot", width: 1 } }] },
    }));
  }
  note(trained, training.note);
})();

// ---- trees
(function trees() {
  const where = place("trees");
  const { left, right, classes, none } = DATA.trees;
  if (none) return noPlot(where, none);
  const rows = classes.length;
  const height = Math.min(innerWidth < 600 ? 700 : 1100, Math.max(300, 16 * rows + 90));
  const edges = { t: 46, b: 40 };
  const pitchOf = (low, high) => (height - edges.t - edges.b) / Math.max(1, high - low);
  const names = classes.map(className);
  const ofItem = classes.map(groupOf);
  const MIX = -2;

  // the group that all classes below a node have, MIX of several
  function groupsOf(tree) {
    const found = tree.item.map((item) => (item >= 0 ? ofItem[item] : null));
    for (let v = tree.parent.length - 1; v > 0; v -= 1) {
      const above = tree.parent[v];
      found[above] = found[above] === null || found[above] === found[v] ? found[v] : MIX;
    }
    return found;
  }
  // first and last row below each node
  function spans(tree) {
    const found = tree.y.map((y, v) => (tree.item[v] >= 0 ? [y, y] : [Infinity, -Infinity]));
    for (let v = tree.parent.length - 1; v > 0; v -= 1) {
      const above = found[tree.parent[v]];
      above[0] = Math.min(above[0], found[v][0]);
      above[1] = Math.max(above[1], found[v][1]);
    }
    return found;
  }
  const groups = [groupsOf(left), groupsOf(right)];
  const below = [spans(left), spans(right)];
  let measures = null; // in pixels, which the plot's own unit from left to right is

  function measure(width) {
    const longest = Math.max(...names.map((name) => name.length));
    const label = Math.min(6.3 * longest + 8, 0.2 * width);
    const gap = Math.max(40, 0.14 * width);
    const tree = (width - 2 * label - gap) / 2;
    measures = { width, label, gap, tree, letters: Math.floor((label - 8) / 6.3),
      x: [(share) => 4 + share * (tree - 4), (share) => width - 4 - share * (tree - 4)],
      lines: [tree + label, width - tree - label] };
  }

  function branches(low, high) {
    const [from, to] = pitchOf(low, high) < LEGIBLE ? [measures.tree, measures.width - measures.tree]
      : measures.lines; // where there are no names, the lines reach the trees
    const lines = new Map([MIX, ...SHOWN_GROUPS].map((g) => [g, { x: [], y: [] }]));
    [left, right].forEach((tree, side) => {
      const x = tree.x.map(measures.x[side]);
      const add = (g, points) => points.forEach(([a, b]) => {
        lines.get(g).x.push(a);
        lines.get(g).y.push(b);
      });
      tree.parent.forEach((above, v) => {
        if (above < 0) return;
        add(groups[side][v], [[x[above], tree.y[v]], [x[v], tree.y[v]], [null, null]]);
        add(groups[side][above], [[x[above], tree.y[above]], [x[above], tree.y[v]], [null, null]]);
      });
    });
    const rowOf = [left, right].map((tree) => {
      const found = [];
      tree.item.forEach((item, v) => { if (item >= 0) found[item] = tree.y[v]; });
      return found;
    });
    const steps = rows > 300 ? 12 : 24; // of a curved line
    const between = new Map(SHOWN_GROUPS.map((g) => [g, { x: [], y: [] }]));
    classes.forEach((_, i) => {
      const own = between.get(ofItem[i]);
      for (let step = 0; step <= steps; step += 1) {
        const t = step / steps;
        own.x.push(from + t * (to - from));
        own.y.push(rowOf[0][i] + t * t * (3 - 2 * t) * (rowOf[1][i] - rowOf[0][i]));
      }
      own.x.push(null);
      own.y.push(null);
    });
    const width = rows > 200 ? 1 : 1.6;
    const traces = (found, more) => [...found].map(([g, points]) => ({ type: "scatter",
      mode: "lines", hoverinfo: "skip", ...points, ...more(g) }));
    return [
      ...traces(between, (g) => ({ legendgroup: `g${g}`, showlegend: false, opacity: 0.75,
        line: { color: groupColour(g), width } })),
      ...traces(lines, (g) => ({ legendgroup: `g${g}`, showlegend: g !== MIX,
        name: g === MIX ? "" : groupName(g),
        line: { color: g === MIX ? GROUPS.mixed : groupColour(g), width } })),
    ];
  }

  function nodes(low, high) {
    const pitch = pitchOf(low, high);
    const size = Math.max(8, Math.min(11, pitch));
    return [left, right].flatMap((tree, side) => {
      const x = tree.x.map(measures.x[side]);
      const tips = tree.item.map((_, v) => v).filter((v) => tree.item[v] >= 0);
      const inner = tree.item.map((_, v) => v).filter((v) => tree.item[v] < 0);
      const label = (v) => {
        const [first, last] = below[side][v];
        if (!tree.name[v] || pitch * (last - first + 1) < 12) return "";
        const room = (Math.abs(x[v] - x[tree.parent[v]]) - 6) / 5.8;
        return room < 6 ? "" : literal(shortened(tree.name[v], Math.floor(room)));
      };
      return [
        { type: "scatter", mode: "text", showlegend: false, cliponaxis: true, hoverinfo: "text",
          x: tips.map(() => (side ? measures.width - measures.tree - 4 : measures.tree + 4)),
          y: tips.map((v) => tree.y[v]), textposition: side ? "middle left" : "middle right",
          hovertext: tips.map((v) => literal(names[tree.item[v]])), textfont: { size },
          text: tips.map((v) => (pitch < LEGIBLE ? ""
            : literal(shortened(names[tree.item[v]], measures.letters)))) },
        { type: "scatter", mode: "markers", showlegend: false, hoverinfo: "text",
          x: tips.map((v) => x[v]), y: tips.map((v) => tree.y[v]),
          hovertext: tips.map((v) => literal(names[tree.item[v]])),
          marker: { size: 5, color: INK, opacity: rows > 200 ? 0 : 0.5 } },
        { type: "scatter", mode: "markers+text", showlegend: false, hoverinfo: "text",
          x: inner.map((v) => x[v]), y: inner.map((v) => tree.y[v]),
          hovertext: inner.map((v) => literal(tree.text[v])), text: inner.map(label),
          textposition: side ? "top right" : "top left", textfont: { size: 10, color: "#555" },
          marker: { size: pitch < LEGIBLE ? 3 : 6, color: INK } },
      ];
    });
  }

  const range = [rows - 0.4, -0.6]; // the first row at the top
  const parts = (low, high) => [...branches(low, high), ...nodes(low, high)];
  const cut = DATA.trees.start;
  const layout = () => ({
    xaxis: { visible: false, range: [0, measures.width], fixedrange: true, automargin: false },
    yaxis: { visible: false, range: [...range], automargin: false },
    margin: { l: 0, r: 0, ...edges }, dragmode: COARSE ? false : "zoom",
    annotations: [[0, "left", "class tree"], [1, "right", innerWidth < 600 ? "learned tree"
      : `learned tree of the class vectors (${DATA.trees.unit})`]].map(([x, xanchor, text]) => ({
      x, xanchor, text: `<b>${text}</b>`, xref: "paper", yref: "paper", y: 1, yanchor: "bottom",
      showarrow: false })),
  });
  const find = element("input", { type: "search", list: "all-classes", "aria-label":
    "find a class in the trees" });
  find.placeholder = "find a class";
  const box = plot(where, "class tree and learned tree", height, () => {
    measure(box.clientWidth);
    return { data: parts(...[...range].reverse()), layout: layout(), then: listen };
  });
  let busy = false;
  function redraw() {
    const [high, low] = box.layout.yaxis.range;
    const { range: kept } = box.layout.yaxis;
    busy = true;
    const again = layout();
    again.yaxis.range = [...kept];
    Plotly.react(box, parts(Math.min(low, high), Math.max(low, high)), laidOut(again))
      .then(() => { busy = false; });
  }
  function show(low, high) {
    if (!box.layout) return;
    box.layout.yaxis.range = [high, low];
    redraw();
  }
  function listen() {
    box.on("plotly_relayout", (change) => {
      if (busy) return;
      if (change["yaxis.autorange"]) show(range[1], range[0]);
      else if ("yaxis.range[0]" in change) redraw();
      else if (change.autosize || "width" in change) { measure(box.clientWidth); redraw(); }
    });
    new ResizeObserver(() => {
      if (measures.width === box.clientWidth || !box.clientWidth) return;
      measure(box.clientWidth);
      redraw();
    }).observe(box);
  }
  const zoom = (factor) => () => {
    if (!box.layout) return;
    const [high, low] = box.layout.yaxis.range;
    const middle = (low + high) / 2;
    const half = Math.min((rows + 1) / 2, Math.max(3, factor * Math.abs(high - low) / 2));
    const centre = Math.min(rows - 0.4 - half, Math.max(half - 0.6, middle));
    show(centre - half, centre + half);
  };
  find.addEventListener("change", () => {
    const wanted = find.value.trim().toLowerCase();
    const i = names.findIndex((name) => name.toLowerCase() === wanted);
    const item = i >= 0 ? i : names.findIndex((name) => name.toLowerCase().includes(wanted));
    if (!wanted || item < 0) return;
    const y = left.y[left.item.indexOf(item)];
    const half = Math.max(2, Math.min(15, rows / 8));
    show(y - half, y + half);
  });
  where.prepend(element("div", { class: "bar" }, find,
    element("datalist", { id: "all-classes" }, ...names.map((name) => element("option",
      { value: name }))),
    button("zoom in", zoom(0.5)), button("zoom out", zoom(2)),
    button("whole tree", () => show(range[1], range[0]))));
  const pairs = rows * (rows - 1) / 2;
  note(where, `${DATA.trees.crossings} of ${pairs} pairs of lines cross, after turning both trees `
    + `for few crossings (${DATA.trees.before} before). The learned tree joins classes whose vectors `
    + `are near (UPGMA): the nearest at a distance of ${DATA.trees.first.toPrecision(3)}, all at `
    + `${DATA.trees.end.toPrecision(3)}.${cut ? " Its branches are drawn from "
      + `${cut.toPrecision(2)} on.` : ""}`, DATA.trees.note);
})();

drawPlots();
