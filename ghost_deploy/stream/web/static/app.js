// The page: asks for the status each second and for images as fast as they come.
"use strict";

const STATUS_EVERY_MS = 1000;
const IMAGE_EVERY_MS = 66;
const RETRY_MS = 1500;
const TONES = {
  live: "good", ok: "good", ended: "", connecting: "", starting: "",
  lost: "bad", failed: "bad", down: "bad", degraded: "warn",
};
const SIDES = [480, 960, 1600];

const cards = new Map();
const byId = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const whole = new Intl.NumberFormat("en");

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setPill(element, word) {
  setText(element, word);
  element.dataset.tone = TONES[word] || "";
}

function duration(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

// The colour of a class, as `class_color` of the drawing chooses it.
function classColor(id) {
  const hue = (id * 0.618033988749895) % 1;
  const [saturation, value] = [[0.85, 0.95], [0.6, 1], [0.95, 0.75]][id % 3];
  const lightness = value * (1 - saturation / 2);
  const share = Math.min(lightness, 1 - lightness);
  return `hsl(${hue * 360} ${share ? ((value - lightness) / share) * 100 : 0}% ${lightness * 100}%)`;
}

class Card {
  constructor(id) {
    const root = byId("card").content.firstElementChild.cloneNode(true);
    this.root = root;
    this.image = root.querySelector("img");
    this.urls = [];
    root.dataset.source = id;
    setText(root.querySelector("h2"), /^\d+$/.test(id) ? `source ${id}` : id);
    this.age = new Chart("Frame age", [
      { key: "age_mean", name: "mean", color: "var(--series-1)", fill: 0.12 },
      { key: "age_max", name: "max", color: "var(--series-2)" },
    ]);
    this.stages = new Chart("Latency", [
      { key: "pre", name: "pre", color: "var(--series-3)", fill: 0.35 },
      { key: "run", name: "run", color: "var(--series-1)", fill: 0.35 },
      { key: "post", name: "post", color: "var(--series-2)", fill: 0.35 },
    ], true);
    root.querySelector(".charts").append(this.age.root, this.stages.root);
  }

  show(blob) {
    this.urls.push(URL.createObjectURL(blob));
    this.image.onload = () => {
      while (this.urls.length > 1) URL.revokeObjectURL(this.urls.shift());
    };
    this.image.src = this.urls[this.urls.length - 1];
  }

  update(source, classes) {
    const root = this.root;
    const figure = (name) => root.querySelector(`[data-figure=${name}]`);
    setPill(root.querySelector(".state"), source.state);
    setText(root.querySelector(".label"), source.label === source.id ? "" : source.label);
    this.image.alt = `Newest image of ${source.id} with its detections`;
    if (source.size_hw) {
      root.querySelector("figure").style.aspectRatio = `${source.size_hw[1]} / ${source.size_hw[0]}`;
    }
    setText(figure("fps"), source.fps.toFixed(1));
    const [p50, p99] = [milliseconds(source.age_p50_ms), milliseconds(source.age_p99_ms)];
    setText(figure("age"), source.age_p50_ms === null ? "–" : `${p50.replace(/ ms$/, "")} / ${p99}`);
    const dropped = Object.entries(source.dropped).filter(([, count]) => count);
    setText(figure("processed"), whole.format(source.processed));
    setText(figure("dropped"), whole.format(dropped.reduce((sum, [, count]) => sum + count, 0)));
    setText(figure("reconnects"), whole.format(source.reconnects));
    setText(root.querySelector(".causes"), dropped.length
      ? `dropped: ${dropped.map(([cause, count]) => `${whole.format(count)} ${cause}`).join(", ")}` : "");
    this.updateNotice(source);
    this.updateClasses(source, classes);
  }

  updateNotice(source) {
    const notice = this.root.querySelector(".notice");
    const age = source.last_frame_age_ms;
    const stale = source.state !== "live" && source.state !== "ended";
    const parts = [];
    if (stale) parts.push(source.last_error, age === null ? "no frame yet" : `last frame ${duration(age / 1000)} ago`);
    else if (source.state === "live" && age > 5000) parts.push(`no frame for ${duration(age / 1000)}`);
    setText(notice, parts.filter(Boolean).join(" · "));
    notice.hidden = !notice.textContent;
    this.root.classList.toggle("stale", stale || !notice.hidden);
  }

  updateClasses(source, classes) {
    const body = this.root.querySelector(".classes tbody");
    const names = Object.keys(source.totals).sort((a, b) => source.totals[b] - source.totals[a] || (a < b ? -1 : 1)).slice(0, 12);
    body.parentElement.hidden = !names.length;
    while (body.rows.length > names.length) body.deleteRow(-1);
    names.forEach((name, i) => {
      const row = body.rows[i] || body.insertRow();
      while (row.cells.length < 3) row.insertCell();
      if (row.dataset.name !== name) {
        row.dataset.name = name;
        const swatch = document.createElement("i");
        swatch.className = "swatch";
        swatch.style.background = classColor(Math.max(0, classes.indexOf(name)));
        row.cells[0].replaceChildren(swatch, name);
        row.cells[1].className = "now";
      }
      setText(row.cells[1], whole.format(source.counts[name] || 0));
      setText(row.cells[2], whole.format(source.totals[name]));
    });
  }
}

function showModel(model) {
  const facts = {
    model: model.name, runtime: `${model.runtime} ${model.version}`.trim(), device: model.device,
    precision: model.precision, input: `${model.size_hw[1]} × ${model.size_hw[0]}`,
  };
  const entries = Object.entries(facts).filter(([, value]) => value).map(([name, value]) => {
    const entry = document.createElement("div"), term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    entry.append(term, text);
    return entry;
  });
  byId("model").replaceChildren(...entries);
}

function showSources(status) {
  const main = byId("sources");
  const known = new Set(status.sources.map((source) => source.id));
  for (const [id, card] of cards) {
    if (!known.has(id)) { card.root.remove(); cards.delete(id); }
  }
  for (const source of status.sources) {
    if (!cards.has(source.id)) {
      const card = new Card(source.id);
      cards.set(source.id, card);
      main.append(card.root);
    }
    cards.get(source.id).update(source, status.model.class_names);
  }
  main.classList.toggle("one", cards.size === 1);
}

function showDeliveries(deliveries) {
  const rows = Object.entries(deliveries);
  byId("deliveries").hidden = !rows.length;
  byId("deliveries").querySelector("tbody").replaceChildren(...rows.map(([name, d]) => {
    const row = document.createElement("tr");
    for (const text of [name, ...[d.sent, d.waiting, d.dropped, d.retries].map((n) => whole.format(n)), d.last_error]) {
      row.insertCell().textContent = text;
    }
    return row;
  }));
}

function say(problem) {
  const banner = byId("banner");
  banner.hidden = !problem;
  setText(banner, problem);
  document.body.classList.toggle("offline", Boolean(problem));
  if (problem) {
    setPill(byId("health"), "offline");
    for (const card of cards.values()) card.root.classList.add("stale");
  }
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(15000) });
  // The token has changed, or the server was started anew: show the way in.
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

async function pollStatus() {
  for (;;) {
    if (!document.hidden) {
      try {
        const [status, histories] = await Promise.all(
          ["/api/status", "/api/history"].map(async (path) => (await ask(path)).json()));
        say("");
        showModel(status.model);
        setPill(byId("health"), status.health);
        showSources(status);
        showDeliveries(status.deliveries);
        setText(byId("uptime"), `ghost-deploy ${status.tool} · up ${duration(status.uptime_s)}`);
        for (const [id, columns] of Object.entries(histories)) {
          const card = cards.get(id);
          if (card) { card.age.update(columns); card.stages.update(columns); }
        }
      } catch {
        say("The run has ended, or it cannot be reached. What is shown is old; trying again …");
      }
    }
    await pause(STATUS_EVERY_MS);
  }
}

// The least size that is sharp in the widest card.
function wantedSide() {
  const widths = [...cards.values()].map((card) => card.image.clientWidth * devicePixelRatio);
  return SIDES.find((side) => side >= Math.max(...widths)) || SIDES[SIDES.length - 1];
}

async function pollImages() {
  let after = 0;
  for (;;) {
    if (document.hidden || !cards.size) { await pause(200); continue; }
    const began = performance.now();
    try {
      const answer = await ask(`/api/images?after=${after}&side=${wantedSide()}`);
      if (answer.status === 200) after = showImages(await answer.arrayBuffer());
      await pause(Math.max(0, IMAGE_EVERY_MS - (performance.now() - began)));
    } catch {
      after = 0;
      await pause(RETRY_MS);
    }
  }
}

// A line of JSON, then the JPEG files one after another; gives the number to ask on from.
function showImages(buffer) {
  const bytes = new Uint8Array(buffer), end = bytes.indexOf(10);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  let start = end + 1;
  for (const each of head.images) {
    const card = cards.get(each.id);
    if (card) card.show(new Blob([bytes.subarray(start, start + each.bytes)], { type: "image/jpeg" }));
    start += each.bytes;
  }
  return head.serial;
}

pollStatus();
pollImages();
