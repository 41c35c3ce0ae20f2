// Small charts over the last minutes, drawn as SVG.
"use strict";

const SPAN_S = 180;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 360, HEIGHT = 100;

// Colours go through `style`, which takes CSS variables; the page's policy forbids the attribute.
function svgElement(name, attributes, style = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  Object.assign(element.style, style);
  return element;
}

function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(value < 100000 ? 1 : 0)} s`;
  return `${value >= 100 ? Math.round(value) : value.toFixed(1)} ms`;
}

const tick = (value) => (value >= 1000 ? `${value / 1000} s` : `${value} ms`);

// The next of 1, 2, 5, 10, 20, ... that is not below the value.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value * 0.9999);
}

class Chart {
  // series: [{key, name, color, fill}], keys of the history's columns; stacked: added up.
  constructor(title, series, stacked = false) {
    this.series = series;
    this.stacked = stacked;
    this.columns = { ago: [] };
    this.root = document.createElement("figure");
    this.root.className = "chart";
    this.root.hidden = true;
    const caption = document.createElement("figcaption");
    const name = document.createElement("b");
    name.textContent = title;
    caption.append(name);
    this.values = series.map(({ name, color }) => {
      const entry = document.createElement("span"), swatch = document.createElement("i");
      swatch.className = "swatch";
      swatch.style.background = color;
      const value = document.createElement("span");
      entry.append(swatch, `${name} `, value);
      caption.append(entry);
      return value;
    });
    const plot = document.createElement("div");
    plot.className = "plot";
    this.svg = svgElement("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${title}, last ${SPAN_S / 60} minutes`,
    });
    this.top = document.createElement("span");
    this.top.className = "axis top";
    this.middle = document.createElement("span");
    this.middle.className = "axis middle";
    plot.append(this.svg, this.top, this.middle);
    const times = document.createElement("div");
    times.className = "times";
    times.append(...[`${SPAN_S / 60} min ago`, "now"].map((text) => {
      const label = document.createElement("span");
      label.textContent = text;
      return label;
    }));
    this.root.append(caption, plot, times);
    this.pointed = null;
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => { this.pointed = null; this.draw(); });
  }

  update(columns) {
    this.columns = columns;
    this.root.hidden = !columns.ago.length;
    this.draw();
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    this.pointed = SPAN_S * (1 - (event.clientX - box.left) / box.width);
    this.draw();
  }

  draw() {
    const { ago } = this.columns;
    const levels = this.levels();
    const top = roundUp(Math.max(1, ...levels.flat()));
    const x = (index) => WIDTH * (1 - ago[index] / SPAN_S);
    const y = (value) => HEIGHT * (1 - value / top);
    const shapes = [0, 0.5, 1].map((part) => svgElement("line", {
      class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT * part, y2: HEIGHT * part,
    }));
    for (let s = this.series.length - 1; s >= 0; s--) {
      for (const [first, last] of this.runs()) {
        const points = [];
        for (let i = first; i <= last; i++) points.push(`${x(i).toFixed(1)},${y(levels[s][i]).toFixed(1)}`);
        // A second alone is a dot wide.
        if (first === last) points.push(`${(x(first) + 1.5).toFixed(1)},${y(levels[s][first]).toFixed(1)}`);
        const { color, fill } = this.series[s];
        if (fill) {
          const floor = this.stacked && s ? levels[s - 1] : null;
          const back = [];
          for (let i = last; i >= first; i--) back.push(`${x(i).toFixed(1)},${(floor ? y(floor[i]) : HEIGHT).toFixed(1)}`);
          const area = `M${points.join(" L")} L${back.join(" L")} Z`;
          shapes.push(svgElement("path", { d: area }, { fill: color, fillOpacity: fill }));
        }
        shapes.push(svgElement("path", { class: "line", d: `M${points.join(" L")}` }, { stroke: color }));
      }
    }
    const shown = this.shownIndex();
    if (this.pointed !== null && shown >= 0) {
      shapes.push(svgElement("line", { class: "cursor", x1: x(shown), x2: x(shown), y1: 0, y2: HEIGHT }));
    }
    this.svg.replaceChildren(...shapes);
    this.top.textContent = tick(top);
    this.middle.textContent = tick(top / 2);
    this.series.forEach(({ key }, s) => {
      this.values[s].textContent = shown < 0 ? "–" : milliseconds(this.columns[key][shown]);
    });
  }

  // The values to draw of each series: where they are stacked, each on top of those before it.
  levels() {
    const sums = this.columns.ago.map(() => 0);
    return this.series.map(({ key }) => (this.columns[key] || []).map((value, i) => {
      if (!this.stacked) return value;
      sums[i] += value;
      return sums[i];
    }));
  }

  // [first, last] index of each run of seconds that follow one another: a gap stays a gap.
  runs() {
    const { ago } = this.columns, runs = [];
    for (let i = 0; i < ago.length; i++) {
      // Sources slower than a frame a second are joined over a few seconds.
      if (i && ago[i - 1] - ago[i] <= 3) runs[runs.length - 1][1] = i;
      else runs.push([i, i]);
    }
    return runs;
  }

  // The second under the pointer, else the last; -1 where there is none.
  shownIndex() {
    const { ago } = this.columns;
    if (this.pointed === null) return ago.length && ago[ago.length - 1] <= 3 ? ago.length - 1 : -1;
    let best = -1;
    for (let i = 0; i < ago.length; i++) {
      if (best < 0 || Math.abs(ago[i] - this.pointed) < Math.abs(ago[best] - this.pointed)) best = i;
    }
    return best;
  }
}
