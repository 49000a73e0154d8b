// The plots of the page of one run: maps of embeddings, curves; and its trees.
const GROUPS = DATA.groups;
const SHOWN_GROUPS = GROUPS.others ? [...GROUPS.own, -1] : GROUPS.own; // -1: those without a colour
const groupOf = (c) => (GROUPS.own.includes(GROUPS.of_class[c]) ? GROUPS.of_class[c] : -1);
const groupName = (g) => literal(g < 0 ? GROUPS.others : GROUPS.names[g]);
const groupColour = (g) => (g < 0 ? PALETTE.others : GROUPS.colours[g]);
const groupSymbol = (g) => (g < 0 ? "circle" : GROUPS.symbols[g]);
const RIGHT_LINE = `rgb(${PALETTE.right})`;
const WRONG_LINE = `rgb(${PALETTE.wrong})`;
const NAMED = innerWidth < 600 ? 0 : 40; // classes named in a map
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
      plot(grid, `accuracy against confidence, ${one.name}`, 340, () => ({
        data: [
          { type: "bar", x: one.lower.map((lower, i) => (lower + one.upper[i]) / 2),
            y: one.accuracy, width: 0.06,
            // the outline shows bars of height 0, too
            marker: { color: RIGHT_LINE, opacity: 0.8, line: { color: RIGHT_LINE, width: 2 } },
            name: "accuracy", hoverinfo: "text",
            textposition: "none", text: one.counts.map((count, i) => `${count} images of mean `
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
        xaxis: { title: { text: "epoch" }, rangemode: "tozero",
          ...(Math.max(...panel.lines[0].x) > 10 ? {} : { dtick: 1 }) }, // no half epochs
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
  const { order, learned, note: missing, none } = DATA.trees;
  if (none) return noPlot(where, none);
  tanglegrams({ ...DATA.tree, order }, [learned], [""], where);
  note(where, missing);
})();

drawPlots();
