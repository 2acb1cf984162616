// Draws the page's figures, each when it comes into view, and all of them before printing.
"use strict";
const FIGURES = JSON.parse(document.getElementById("figures").textContent);
const CODES = { "-32768": "absent", "-32767": "zero", "32767": "broken" };
const OPTIONS = { responsive: true, displayModeBar: false, displaylogo: false };

// {packed, shape: [L, S], scale} -> rows of numbers, and which cells are exactly zero or not finite.
function unpack(array) {
  const bytes = Uint8Array.from(atob(array.packed), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const [L, S] = array.shape;
  const grids = { value: [], zero: [], broken: [] };
  for (let l = 0; l < L; l++) {
    for (const grid of Object.values(grids)) grid.push(new Array(S).fill(null));
    for (let s = 0; s < S; s++) {
      const stored = view.getInt16(2 * (l * S + s), true);
      const code = CODES[stored];
      if (!code) grids.value[l][s] = stored / array.scale;
      else if (code !== "absent") grids[code][l][s] = 1;
    }
  }
  return grids;
}

function plain(colour) { return [[0, colour], [1, colour]]; }

function heatmaps(trace, colours) {
  const grids = unpack(trace.z);
  const { steps, layers, unit, ...rest } = trace;
  const told = (l, s, what) => `${layers[l]}<br>step ${steps[s]}<br>${what}`;
  const text = (grid, what) => grid.map((row, l) => row.map((v, s) => (v === null ? "" : told(l, s, what(v)))));
  const found = [{ ...rest, z: grids.value, text: text(grids.value, (v) => `${unit} ${v}`) }];
  for (const [code, words] of [["zero", "exactly zero"], ["broken", "not finite"]]) {
    if (grids[code].some((row) => row.includes(1))) {
      found.push({ type: "heatmap", z: grids[code], colorscale: plain(colours[code]), showscale: false,
                   text: text(grids[code], () => words) });
    }
  }
  for (const one of found) one.hovertemplate = "%{text}<extra></extra>";
  return found;
}

function draw(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  const figure = FIGURES[place.dataset.chart][place.dataset.index];
  const colours = { zero: document.body.dataset.zero, broken: document.body.dataset.broken };
  const data = figure.data.flatMap((trace) => (trace.type === "heatmap" ? heatmaps(trace, colours) : [trace]));
  Plotly.newPlot(place, data, figure.layout, OPTIONS);
}

const places = [...document.querySelectorAll("[data-chart]")];
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }
}, { rootMargin: "600px" });
for (const place of places) watcher.observe(place);
// What is in sight comes first, the rest when there is nothing else to do: a page that is searched, saved or captured is whole.
const later = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
function drawNext() {
  const next = places.find((place) => !place.dataset.drawn);
  if (next) { draw(next); later(drawNext); }
}
later(drawNext);
window.addEventListener("beforeprint", () => { for (const place of places) draw(place); });
