// Plots of a page, drawn by plotly.js, which stands compressed in the element `library`.
const COARSE = matchMedia("(pointer: coarse)").matches; // a finger, which has to scroll past them
const FONT = "system-ui, sans-serif";
const INK = "#222222";
const waiting = []; // plots to draw, in the order of the page

// Plotly reads a little HTML in texts: names must not become any
function literal(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function laidOut(layout) {
  const axis = (given = {}) => ({ gridcolor: "#e6e6e6", zeroline: false, linecolor: "#999",
    ticks: "outside", automargin: true, ...given,
    title: { font: { size: 12 }, standoff: 8, ...given.title } });
  return {
    font: { family: FONT, size: 12, color: INK }, hovermode: "closest", autosize: true,
    dragmode: COARSE ? false : "zoom", paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    margin: { l: 50, r: 12, t: 36, b: 70 },
    hoverlabel: { bgcolor: INK, bordercolor: INK, align: "left", namelength: -1,
      font: { color: "#fff", family: FONT } },
    legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom",
      font: { size: 11 } },
    ...layout,
    title: { x: 0, xref: "paper", xanchor: "left", font: { size: 13 }, ...layout.title },
    xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
  };
}

// named one by one: the library's own choice has a button that sends the chart to a server
const SETTINGS = { displaylogo: false, responsive: true, displayModeBar: COARSE ? false : "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };

// Registers a plot: `make` gives its traces and layout once the library is there, and what to do
// then; `settings` are the library's
function plot(place, label, height, make, settings = {}) {
  const box = element("div", { class: "plot", role: "img", "aria-label": label });
  box.style.height = `${height}px`;
  place.append(box);
  const saved = { filename: label.replace(/[^a-z0-9]+/gi, "_"), scale: 2 }; // as a picture
  waiting.push({ box, make, settings: { toImageButtonOptions: saved, ...settings } });
  return box;
}

// a reason instead of a plot, and of the sentence above it that says how to use it
function noPlot(place, reason) {
  place.previousElementSibling.replaceWith(element("p", { class: "none" }, reason));
}

async function loadLibrary() {
  const held = document.getElementById("library");
  const bytes = Uint8Array.from(atob(held.textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = await new Response(stream).text();
  document.head.append(element("script", {}, code));
  held.remove();
}

async function drawPlots() {
  if (!waiting.length) return;
  try {
    await loadLibrary();
    for (const { box, make, settings } of waiting) {
      const { data, layout, then } = make(box);
      await Plotly.newPlot(box, data, laidOut(layout), { ...SETTINGS, ...settings });
      if (then) then(box);
    }
  } catch (error) {
    for (const { box } of waiting.filter((one) => !one.box.children.length)) {
      box.replaceWith(element("p", { class: "none" },
        `This browser could not draw here (${error.message}): a newer one can.`));
    }
    console.error(error);
  }
  document.body.dataset.plots = "drawn"; // for tests and for those who print
}
