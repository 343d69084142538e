// The status page: reads the stream of the admin port, and draws. No library, no build, no other host.

const KEPT = 300; // seconds
const EVENTS = 30;
const REFRESHED = 2; // seconds without news until the page says so

const $ = (id) => document.getElementById(id);
const samples = []; // { at, metrics }, a second apart, the latest last
let ailments = {};

const sum = (values, labels) =>
  Object.entries(values ?? {}).reduce((all, [label, value]) => all + (!labels || labels.includes(label) ? value : 0), 0);
const one = (metrics, name) => metrics[name]?.[""];

/** How much a counter has grown a second, between two samples. */
function rate(now, before, name, labels) {
  if (!before) return 0;
  const grown = sum(now.metrics[name], labels) - sum(before.metrics[name], labels);
  return Math.max(0, grown / Math.max(0.2, now.at - before.at));
}

/** A quantile of what a histogram counted between two samples, in seconds; null if it counted nothing. */
function quantile(now, before, name, part, bounds) {
  const counts = one(now.metrics, name)?.slice(0, -1);
  const earlier = before && one(before.metrics, name);
  const grown = counts?.map((count, index) => count - (earlier?.[index] ?? 0)) ?? [];
  const all = grown.reduce((a, b) => a + b, 0);
  if (!all) return null;
  let left = all * part;
  const index = grown.findIndex((count) => (left -= count) <= 0);
  return bounds[Math.min(index, bounds.length - 1)];
}

const MINT = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8];
const UPSTREAM = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const LAG = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
const PASSED = ["fresh", "prefetch", "rotate", "anonymous", "unguarded"];

const short = (n) => (n == null ? "–" : n >= 1e6 ? `${(n / 1e6).toFixed(1)} M` : n >= 1e4 ? `${Math.round(n / 1e3)} k` : n >= 100 || Number.isInteger(n) ? String(Math.round(n)) : n.toFixed(1));
const time = (s) => (s == null ? "–" : s < 1 ? `≤ ${+(s * 1000).toFixed(1)} ms` : s < 120 ? `${+s.toFixed(1)} s` : `${Math.round(s / 60)} min`);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text != null) made.textContent = text; // never markup: what is shown may come from anywhere
  if (className) made.className = className;
  return made;
}

function showVerdict(metrics) {
  const usable = one(metrics, "jwks_usable");
  const ailing = Object.entries(ailments);
  const [text, mood] =
    usable === 0 ? ["Guests are refused: there are no keys", "bad"]
    : ailing.length ? ["Guests are served, but not all is well", "warn"]
    : ["Guests are fine", "good"];
  $("verdict").textContent = text;
  $("verdict").className = mood;
  $("ailments").replaceChildren(...ailing.map(([part, says]) => element("li", `${part}: ${says}`)));
}

function showTiles(now, before, minute) {
  const { metrics } = now;
  const closed = one(metrics, "issuer_closed_seconds");
  const tiles = [
    ["tokens remembered", short(sum(metrics.remembered_tokens) - (metrics.remembered_tokens?.expired ?? 0))],
    ["requests a second", short(rate(now, before, "requests_total"))],
    ["refused a second", short(rate(now, before, "requests_total", ["refused"]))],
    ["rotations a minute", short(60 * rate(now, minute, "rotations_total", ["rotated"]))],
    ["mint, 95 %", time(quantile(now, minute, "mint_seconds", 0.95, MINT))],
    ["mints left", short(one(metrics, "mint_budget_remaining"))],
    ["issuer", closed ? `back in ${time(closed)}` : "open", closed ? "warn" : ""],
    ["age of the keys", time(one(metrics, "jwks_age_seconds"))],
    ["store", one(metrics, "store_degraded") ? "degraded" : "fine", one(metrics, "store_degraded") ? "warn" : ""],
    ["backend, 95 %", time(quantile(now, minute, "upstream_seconds", 0.95, UPSTREAM))],
    ["streams", short(sum(metrics.active_streams))],
    ["loop lag, 99 %", time(quantile(now, minute, "loop_lag_seconds", 0.99, LAG))],
    ["workers", short(one(metrics, "workers"))],
  ];
  $("tiles").replaceChildren(...tiles.map(([name, value, mood]) => {
    const tile = element("div");
    tile.append(element("b", value, mood), element("span", name));
    return tile;
  }));
}

const PLOTS = [
  ["Requests a second", short, [["passed", (a, b) => rate(a, b, "requests_total", PASSED)], ["refused", (a, b) => rate(a, b, "requests_total", ["refused"])]]],
  ["Mints and rotations a second", short, [["mints", (a, b) => rate(a, b, "mints_total")], ["rotations", (a, b) => rate(a, b, "rotations_total", ["rotated", "shared"])]]],
  ["Mint time", time, [["half", (a, b) => quantile(a, b, "mint_seconds", 0.5, MINT)], ["95 %", (a, b) => quantile(a, b, "mint_seconds", 0.95, MINT)]]],
  ["Backend time", time, [["half", (a, b) => quantile(a, b, "upstream_seconds", 0.5, UPSTREAM)], ["95 %", (a, b) => quantile(a, b, "upstream_seconds", 0.95, UPSTREAM)]]],
];
const SVG = "http://www.w3.org/2000/svg";

function plot([title, written, series]) {
  const figure = element("figure");
  const lines = series.map(([, value]) => samples.map((sample, index) => (index ? value(sample, samples[index - 1]) : null)));
  const top = Math.max(0, ...lines.flat().map((value) => value ?? 0)) || 1;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${KEPT} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  for (const y of [0, 50, 100]) {
    const line = document.createElementNS(SVG, "line");
    for (const [name, value] of Object.entries({ x1: 0, x2: KEPT, y1: y, y2: y })) line.setAttribute(name, value);
    svg.append(line);
  }
  lines.forEach((values, which) => {
    const path = document.createElementNS(SVG, "path");
    let drawn = "";
    values.forEach((value, index) => {
      if (value == null) return;
      const x = KEPT - values.length + index + 1;
      drawn += `${drawn ? "L" : "M"}${x} ${100 - (100 * value) / top}`;
    });
    path.setAttribute("d", drawn);
    if (which) path.setAttribute("class", "second");
    svg.append(path);
  });
  const names = element("span");
  series.forEach(([name], which) => names.append(which ? " · " : "", element("i", name, which ? "second" : "")));
  const caption = element("figcaption");
  caption.append(names, element("span", `top ${written(top)} · 5 min`));
  figure.append(element("h2", title), svg, caption);
  return figure;
}

function showLives(values) {
  const entries = Object.entries(values ?? {}).filter(([label]) => label !== "other");
  const most = Math.max(1, ...entries.map(([, count]) => count));
  $("lives").replaceChildren(...entries.map(([label, count]) => {
    const bar = element("div", null, "bar");
    const progress = element("progress");
    progress.max = most;
    progress.value = count;
    bar.append(element("span", /^\d/.test(label) ? `under ${label}` : label), progress, element("b", short(count)));
    return bar;
  }));
}

function showRefusals(values) {
  const rows = Object.entries(values ?? {}).filter(([, count]) => count).sort((a, b) => b[1] - a[1]).slice(0, 8);
  const shown = rows.length ? rows : [["none so far", ""]];
  $("refusals").tBodies[0].replaceChildren(...shown.map(([reason, count]) => {
    const row = element("tr");
    row.append(element("td", reason), element("td", count === "" ? "" : short(count)));
    return row;
  }));
}

function show() {
  const now = samples.at(-1);
  showVerdict(now.metrics);
  showTiles(now, samples.at(-2), samples.at(-61) ?? (samples.length > 1 ? samples[0] : undefined));
  $("plots").replaceChildren(...PLOTS.map(plot));
  showLives(now.metrics.remembered_tokens);
  showRefusals(now.metrics.refusals_total);
}

function onEvent({ time: at, level, event, logger, ...fields }) {
  const item = element("li", null, level === "info" ? "" : "warn");
  const said = Object.entries(fields).map(([name, value]) => `${name}=${value}`).join(" ");
  item.append(element("time", at.slice(11, 19)), ` ${event} ${said}`);
  $("events").prepend(item);
  while ($("events").children.length > EVENTS) $("events").lastChild.remove();
}

const source = new EventSource("/status/stream");
source.addEventListener("log", (message) => onEvent(JSON.parse(message.data)));
source.addEventListener("status", (message) => {
  const told = JSON.parse(message.data);
  ailments = told.ailments;
  samples.push({ at: performance.now() / 1000, metrics: told.metrics });
  if (samples.length > KEPT) samples.shift();
  show();
});
setInterval(() => {
  const last = samples.at(-1);
  if (last && performance.now() / 1000 - last.at > REFRESHED + 1) {
    $("verdict").textContent = "No word from guestpass";
    $("verdict").className = "bad";
  }
}, 1000 * REFRESHED);
