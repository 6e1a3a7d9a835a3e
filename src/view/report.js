"use strict";
(() => {
const D = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const GOOD = new Set(["succeeded", "cached"]);
const MARKS = {succeeded: "✓", cached: "=", failed: "✗", running: "▶", backoff: "↻",
  skipped: "⊘", stopped: "■", interrupted: "■"};
const ORDER = ["failed", "running", "backoff", "stopped", "succeeded", "cached", "skipped",
  "queued", "preparing", "pending"];
const COLORS = ["#3a5bd9", "#d9703a", "#16855b", "#a13ad9", "#c22f7d", "#2f9ec2", "#9a8a10",
  "#6b7a90"];

/* --- small helpers --- */

/* el("p.quiet", {title: "x"}, "text", child): text is always text, never markup. */
function el(spec, attrs, ...children) {
  const [tag, ...classes] = spec.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  return fill(node, attrs, children);
}
const put = (box, ...children) => fill(box, null, children);
function svg(tag, attrs, ...children) {
  return fill(document.createElementNS(SVG, tag), attrs, children);
}
function fill(node, attrs, children) {
  for (const [k, v] of Object.entries(attrs || {}))
    if (typeof v === "function") node.addEventListener(k, v);
    else if (v !== undefined && v !== null && v !== false) node.setAttribute(k, v);
  for (const c of children.flat(Infinity))
    if (c !== undefined && c !== null && c !== false)
      node.append(c.nodeType ? c : document.createTextNode(String(c)));
  return node;
}
function duration(ms) {
  if (ms === undefined || ms === null) return "";
  if (ms < 1) return ms > 0 ? "<1 ms" : "0 s";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(2) : s.toFixed(1)} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m} m ${String(Math.floor(s % 60)).padStart(2, "0")} s`;
  return `${Math.floor(m / 60)} h ${String(m % 60).padStart(2, "0")} m`;
}
function bytes(n) {
  if (!(n > 0)) return n === 0 ? "0 B" : "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let u = 0;
  while (n >= 1024 && u < units.length - 1) { n /= 1024; u++; }
  return `${u && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[u]}`;
}
function number(v) {
  if (typeof v !== "number") return String(v);
  if (Number.isInteger(v) && Math.abs(v) < 1e7) return v.toLocaleString("en");
  const a = Math.abs(v);
  return a !== 0 && (a < 1e-4 || a >= 1e7) ? v.toExponential(3) : String(+v.toPrecision(5));
}
const pill = (state, text) => el(`span.pill.s-${state}`, {}, `${MARKS[state] || "·"} `,
  text || state);
const total = s => (s.attempts || []).reduce((sum, a) => sum + ((a.end ?? D.run.duration) -
  a.start), 0);
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

/* --- tooltip --- */

const tip = $("tip");
function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18}px`;
}
function withTip(node, text) {
  const get = typeof text === "function" ? text : () => text;
  node.addEventListener("pointermove", e => showTip(get(e), e.clientX, e.clientY));
  node.addEventListener("pointerleave", () => { tip.hidden = true; });
  node.addEventListener("focus", () => {
    const b = node.getBoundingClientRect();
    showTip(get(), b.left, b.bottom - 12);
  });
  node.addEventListener("blur", () => { tip.hidden = true; });
  return node;
}
addEventListener("scroll", () => { tip.hidden = true; }, {passive: true});

/* --- head --- */

function head() {
  const r = D.run, counts = r.counts;
  const when = new Date(r.started);
  const tiles = [
    ["duration", duration(r.duration)],
    ["steps", r.total.toLocaleString("en")],
    ...ORDER.filter(s => counts[s]).map(s => [s, counts[s].toLocaleString("en")]),
  ];
  if (D.checks.length)
    tiles.push(["checks met", `${D.checks.filter(c => GOOD.has(c.state)).length}/${
      D.checks.length}`]);
  const busy = D.steps.reduce((sum, s) => sum + total(s), 0);
  if (busy > 0 && r.duration > 0)
    tiles.push(["steps at once", (busy / r.duration).toFixed(1)]);
  $("head").append(
    el(".title", {}, el("h1", {}, r.name || r.id), pill(r.status)),
    el(".sub", {},
      el("span", {title: r.started}, isNaN(when) ? r.started :
        when.toLocaleString(undefined, {dateStyle: "medium", timeStyle: "medium"})),
      el("span", {}, "recipe ", el("code", {}, r.recipe)),
      el("span", {}, "run ", el("code", {}, r.id)),
      r.exit_code > 0 && el("span", {}, `exit code ${r.exit_code}`),
      r.message && el("span", {}, r.message)),
    el(".tiles", {}, tiles.map(([name, value]) =>
      el(".tile", {}, el("b", {}, value), el("span", {}, name)))),
    el(".share", {role: "img", "aria-label": ORDER.filter(s => counts[s]).map(s =>
      `${counts[s]} ${s}`).join(", ")}, ORDER.filter(s => counts[s]).map(s =>
      withTip(el(`i.f-${s}`, {style: `flex: ${counts[s]}`}), `${counts[s]} ${s}`))));
}

/* --- failures and checks --- */

function logBlock(log, name) {
  return log && el("div", {style: "margin-top:.7rem"},
    el("h3", {}, name, " ", el("span.quiet.mono", {}, log.path)),
    el("pre.log", {tabindex: 0}, log.cut ? "[…]\n" : "", log.text));
}
function failures() {
  const bad = D.steps.filter(s => s.state === "failed" && s.op !== "check");
  if (!bad.length) return;
  const box = $("failures");
  box.hidden = false;
  box.append(el("h2", {}, bad.length === 1 ? "What failed" : `What failed (${bad.length})`));
  for (const s of bad.slice(0, 10))
    box.append(el(".card.failure", {},
      el(".bar", {style: "margin:0"},
        el("h3", {}, el("a", {href: "#steps", click: e => { e.preventDefault();
          reveal(s.address); }}, el("code", {}, s.address))),
        el("span.quiet.mono", {}, s.where)),
      el("p", {}, s.message || "failed",
        (s.attempts || []).length > 1 ? ` (${s.attempts.length} attempts)` : ""),
      (s.stderr || s.stdout) && logBlock(s.stderr || s.stdout, s.stderr ? "stderr"
        : "stdout")));
  if (bad.length > 10)
    box.append(el("p.quiet", {}, `and ${bad.length - 10} more, in the table of steps`));
}
function checks() {
  if (!D.checks.length) return;
  const box = $("checks");
  box.hidden = false;
  box.className = "card";
  box.append(el(".bar", {}, el("h2", {}, "Checks")), el(".scroll", {}, el("table", {},
    el("thead", {}, el("tr", {}, ["", "check", "value", "wanted", "of"].map(t =>
      el("th", {scope: "col", class: t === "value" ? "num" : null}, t)))),
    el("tbody", {}, D.checks.map(c => el("tr", {},
      el("td", {}, pill(c.state, c.state === "succeeded" ? "met" : c.state === "failed"
        ? "not met" : c.state)),
      el("td", {}, c.name, c.help && el(".quiet", {}, c.help),
        c.state === "failed" && c.message && el(".quiet", {}, c.message)),
      el("td.num", {}, c.actual === null || c.actual === undefined ? "" :
        number(c.actual)),
      el("td", {}, el("code", {}, `${c.op} ${c.than}`)),
      el("td", {}, el("code", {}, c.value.replace(/^\$\{\s*(.*?)\s*\}$/, "$1")))))))));
}

/* --- graph --- */

function legend(states) {
  return el(".legend", {}, states.map(s => el("span", {}, el(`i.f-${s}`, {}), s)));
}
function graph() {
  const box = $("picture"), pic = box.querySelector("svg");
  if (!pic) return;
  const byAddress = new Map(D.steps.map(s => [s.address, s]));
  const width = pic.viewBox.baseVal.width || pic.getBoundingClientRect().width;
  let zoom = 1;
  const fit = () => Math.min(1.1, Math.max(.12, (box.clientWidth - 4) / (width * 4 / 3)));
  const apply = () => { pic.style.width = `${width * 4 / 3 * zoom}px`; pic.removeAttribute(
    "height"); pic.removeAttribute("width"); };
  zoom = fit();
  apply();
  document.querySelectorAll("[data-zoom]").forEach(b => b.addEventListener("click", () => {
    zoom = b.dataset.zoom === "fit" ? fit() : zoom * (b.dataset.zoom === "in" ? 1.25 : .8);
    apply();
  }));
  pic.querySelectorAll(".node").forEach(node => {
    const title = node.querySelector("title");
    const address = title ? title.textContent : "";
    if (title) title.remove();
    node.querySelectorAll("a").forEach(a => a.removeAttribute("xlink:title"));
    const s = byAddress.get(address);
    const label = s ? `${address}\n${s.state}${total(s) ? `, ${duration(total(s))}` : ""}${
      s.message ? `\n${s.message}` : ""}` : address;
    node.setAttribute("tabindex", "0");
    node.setAttribute("role", "button");
    node.setAttribute("aria-label", label);
    withTip(node, label);
    const go = () => s ? reveal(address) : filterBy(address);
    node.addEventListener("click", go);
    node.addEventListener("keydown", e => { if (e.key === "Enter") go(); });
  });
  pic.querySelectorAll(".edge title").forEach(t => t.remove());
  const states = ORDER.filter(s => D.run.counts[s]);
  $("graph").append(legend(states));
}

/* --- timeline --- */

/* Attempts packed into as few rows as never overlap: a row is a place at the machine. */
function pack(bars) {
  const ends = [];
  for (const b of bars) {
    let lane = ends.findIndex(end => end <= b.start + 1e-9);
    if (lane < 0) lane = ends.push(0) - 1;
    ends[lane] = b.end;
    b.lane = lane;
  }
  return ends.length;
}
function niceStep(span, count) {
  const raw = span / count, mag = 10 ** Math.floor(Math.log10(raw || 1));
  return [1, 2, 5, 10].map(m => m * mag).find(s => s >= raw) || 10 * mag;
}
function timeline() {
  const bars = [];
  for (const s of D.steps)
    for (const a of s.attempts || [])
      bars.push({s, a, start: a.start, end: Math.max(a.end ?? D.run.duration, a.start)});
  if (!bars.length) return;
  const box = $("timeline");
  box.hidden = false;
  bars.sort((x, y) => x.start - y.start);
  const rows = pack(bars);
  const holder = el(".gantt");
  box.append(el(".bar", {}, el("h2", {}, "Timeline"), el("span.quiet", {},
    `${plural(bars.length, "attempt")}, at most ${rows} at once`)), holder);
  /* Few steps: a named row each. Many: the packed rows. */
  const order = [...new Set(bars.map(b => b.s))], byStep = order.length <= 50;
  for (const b of bars) b.row = byStep ? order.indexOf(b.s) : b.lane;
  const count = byStep ? order.length : rows;
  const end = bars.reduce((m, b) => Math.max(m, b.end), Math.max(D.run.duration, 1e-3));
  const longest = bars.reduce((m, b) => Math.max(m, b.s.address.length), 0);
  const draw = () => {
    const width = Math.max(320, holder.clientWidth);
    const names = byStep ? Math.min(width * .3, 8 + 7.3 * longest) : 0;
    const h = byStep ? 22 : count > 40 ? 8 : 16, left = names + 6, right = width - 14;
    const x = t => left + t / end * (right - left);
    const pic = svg("svg", {class: "chart", width, height: count * h + 26,
      viewBox: `0 0 ${width} ${count * h + 26}`, role: "img",
      "aria-label": "When each step ran"});
    const step = niceStep(end, Math.max(2, Math.floor((right - left) / 90)));
    for (let t = 0; t <= end + step * 1e-6; t += step)
      pic.append(svg("line", {class: "axis", x1: x(t), x2: x(t), y1: 0, y2: count * h + 4}),
        svg("text", {class: "tick", x: x(t), y: count * h + 19, "text-anchor": t ? "middle"
          : "start"}, duration(t)));
    const seen = new Set();
    for (const b of bars) {
      const state = b.a === b.s.attempts.at(-1) ? b.s.state : "backoff";
      if (byStep && !seen.has(b.row)) {
        seen.add(b.row);
        const label = svg("text", {class: "lane", x: 0, y: b.row * h + h / 2 + 4});
        const max = Math.floor(names / 7.3);
        label.textContent = b.s.address.length > max ? `${b.s.address.slice(0, max - 1)}…`
          : b.s.address;
        pic.append(label);
      }
      const rect = svg("rect", {class: `attempt f-${state}`, x: x(b.start), y: b.row * h +
        (h > 10 ? 3 : 1), width: Math.max(2, x(b.end) - x(b.start)), height: h - (h > 10 ? 6
        : 2), rx: h > 10 ? 3 : 1, tabindex: bars.length <= 200 ? 0 : null,
        click: () => reveal(b.s.address)});
      withTip(rect, `${b.s.address}${b.s.attempts.length > 1 ? ` (attempt ${b.a.n})` : ""}\n${
        duration(b.end - b.start)} from ${duration(b.start)}${b.a.message ? `\n${b.a.message}`
        : ""}`);
      pic.append(rect);
    }
    holder.replaceChildren(pic);
  };
  draw();
  let timer;
  addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(draw, 120); });
}

/* --- metrics: a small drawing per metric, a curve per step --- */

function metrics() {
  const groups = new Map();
  for (const s of D.series) {
    if (s.points.length < 2) continue;
    const key = s.name;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(s);
  }
  const box = $("metrics");
  const single = D.steps.filter(s => s.metrics && s.op !== "check");
  if (!groups.size && !single.length) return;
  box.hidden = false;
  box.append(el(".bar", {}, el("h2", {}, "Metrics")));
  if (groups.size)
    box.append(el(".multiples", {}, [...groups].slice(0, 60).map(([name, list]) =>
      multiple(name, list))));
  if (single.length) box.append(metricTable(single, groups.size > 0));
}
function multiple(name, list) {
  const W = 300, H = 130, L = 44, B = 18, T = 6, R = 8;
  const shown = list.slice(0, 40);
  const all = shown.flatMap(s => s.points);
  let [x0, x1] = extent(all.map(p => p[0])), [y0, y1] = extent(all.map(p => p[1]));
  if (y0 === y1) { y0 -= Math.abs(y0) * .1 || .5; y1 += Math.abs(y1) * .1 || .5; }
  if (x0 === x1) x1 = x0 + 1;
  const px = x => L + (x - x0) / (x1 - x0) * (W - L - R);
  const py = y => T + (y1 - y) / (y1 - y0) * (H - T - B);
  const pic = svg("svg", {class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": `${name} over ${shown[0].x === "step" ? "steps" : "time"}`});
  for (const y of [y0, (y0 + y1) / 2, y1])
    pic.append(svg("line", {class: "axis", x1: L, x2: W - R, y1: py(y), y2: py(y)}),
      svg("text", {class: "tick", x: L - 5, y: py(y) + 4, "text-anchor": "end"},
        short(y)));
  const unit = v => shown[0].x === "step" ? short(v) : duration(v * 1000);
  pic.append(svg("text", {class: "tick", x: L, y: H - 3}, unit(x0)),
    svg("text", {class: "tick", x: W - R, y: H - 3, "text-anchor": "end"}, unit(x1)));
  shown.forEach((s, i) => {
    const line = svg("polyline", {class: "curve", stroke: COLORS[i % COLORS.length],
      points: s.points.map(p => `${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`).join(" ")});
    pic.append(line);
  });
  const nearest = e => {
    const b = pic.getBoundingClientRect();
    const x = x0 + ((e.clientX - b.left) / b.width * W - L) / (W - L - R) * (x1 - x0);
    const lines = shown.slice(0, 10).map(s => {
      const p = s.points.reduce((m, q) => Math.abs(q[0] - x) < Math.abs(m[0] - x) ? q : m);
      return `${s.step}: ${number(p[1])} at ${unit(p[0])}`;
    });
    return lines.join("\n") + (shown.length > 10 ? `\nand ${shown.length - 10} more` : "");
  };
  pic.addEventListener("pointermove", e => showTip(nearest(e), e.clientX, e.clientY));
  pic.addEventListener("pointerleave", () => { tip.hidden = true; });
  const last = list.length === 1 ? number(list[0].points.at(-1)[1])
    : plural(list.length, "step");
  return el(".multiple", {}, el(".bar", {}, el("h3", {}, name), el("span.last", {}, last)),
    pic, list.length === 1 ? el("span.last.mono", {}, list[0].step)
      : list.length <= 8 && el(".legend", {style: "margin-top:.3rem"}, list.map((s, i) =>
        el("span.mono", {}, el("i", {style: `background:${COLORS[i % COLORS.length]}`}),
          s.step.replace(/^[a-z]+\.[^[]*/, m => list.every(o => o.step.startsWith(m + "[")
            || o.step === m) && s.step !== m ? "" : m)))));
}
function extent(values) {
  let lo = Infinity, hi = -Infinity;
  for (const v of values) { if (v < lo) lo = v; if (v > hi) hi = v; }
  return [lo, hi];
}
function short(v) {
  const a = Math.abs(v);
  if (a === 0) return "0";
  return a < 1e-3 || a >= 1e5 ? v.toExponential(1) : String(+v.toPrecision(3));
}
function metricTable(list, folded) {
  const names = [...new Set(list.flatMap(s => Object.keys(s.metrics)))].slice(0, 12);
  const table = el(".scroll", {}, el("table", {}, el("thead", {}, el("tr", {},
    el("th", {scope: "col"}, "last value of"), names.map(n => el("th.num", {scope: "col"},
      n)))), el("tbody", {}, list.slice(0, 200).map(s => el("tr", {},
    el("td.mono", {}, s.address), names.map(n => el("td.num", {}, n in s.metrics
      ? number(s.metrics[n]) : "")))))));
  return folded && list.length > 12 ? el("details", {style: "margin-top:.9rem"},
    el("summary", {}, `Last values of ${plural(list.length, "step")}`), table)
    : el("div", {style: folded ? "margin-top:1rem" : ""}, table);
}

/* --- steps --- */

const PAGE = 200;
let query = "", wanted = null, sortBy = "order", ascending = true, limit = PAGE, body, more;
D.steps.forEach((s, i) => { s.order = i; });
const KEYS = {
  order: s => s.order, address: s => s.address, state: s => ORDER.indexOf(s.state),
  start: s => s.attempts && s.attempts.length ? s.attempts[0].start : Infinity,
  took: s => total(s), memory: s => s.usage ? s.usage.max_rss || 0 : 0,
};
function matching() {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean), key = KEYS[sortBy];
  const list = D.steps.filter(s => (!wanted || s.state === wanted) && words.every(w =>
    s.address.toLowerCase().includes(w) || (s.message || "").toLowerCase().includes(w)));
  return list.sort((a, b) => {
    const x = key(a), y = key(b);
    return (x < y ? -1 : x > y ? 1 : a.order - b.order) * (ascending ? 1 : -1);
  });
}
function detail(s) {
  const facts = [];
  const add = (name, value) => { if (value !== undefined && value !== null && value !== "")
    facts.push(el("dt", {}, name), el("dd", {}, value)); };
  add("what it does", s.help);
  add("message", s.message);
  add("recipe", el("code", {}, s.where));
  add("result from", s.origin && el("code", {}, s.origin));
  if (s.needs.length)
    add("needs", s.needs.map((n, i) => [i ? ", " : "", el("a.mono", {href: "#steps",
      click: e => { e.preventDefault(); reveal(n); }}, n)]));
  if ((s.attempts || []).length > 1)
    add("attempts", s.attempts.map(a => el("div", {}, `${a.n}: ${duration((a.end ??
      D.run.duration) - a.start)}${a.message ? `, ${a.message}` : ""}`)));
  add("asked for", [`${s.cpu} cpu`, s.memory && bytes(s.memory), s.gpu && `${s.gpu} gpu`]
    .filter(Boolean).join(", "));
  if (s.usage)
    add("used", [s.usage.cpu !== undefined && `${duration(s.usage.cpu * 1000)} of cpu`,
      s.usage.max_rss && `${bytes(s.usage.max_rss)} of memory at most`].filter(Boolean)
      .join(", "));
  if (s.metrics)
    add("metrics", Object.entries(s.metrics).map(([k, v]) => `${k} = ${number(v)}`)
      .join(", "));
  if (s.outputs)
    add("outputs", Object.entries(s.outputs).map(([k, o]) => el("div", {}, el("b", {}, k),
      " ", el("code", {}, o.path || ""), " ", el("span.quiet", {}, bytes(o.size)))));
  add("key", s.key && el("code.quiet", {}, s.key));
  return [el("dl", {}, facts), logBlock(s.stdout, "stdout"), logBlock(s.stderr, "stderr")];
}
function row(s) {
  const id = `step-${s.order}`;
  const button = el("button", {type: "button", "aria-expanded": "false",
    "aria-controls": id}, s.address);
  const tr = el("tr.row", {"data-address": s.address},
    el("td", {}, pill(s.state)), el("td.name", {}, button),
    el("td.num.hide", {}, s.attempts && s.attempts.length ? duration(s.attempts[0].start)
      : ""),
    el("td.num", {}, s.attempts && s.attempts.length ? duration(total(s)) : ""),
    el("td.num.hide", {}, s.usage && s.usage.max_rss ? bytes(s.usage.max_rss) : ""),
    el("td.hide", {}, el("span.quiet", {}, s.state === "failed" || s.state === "skipped"
      ? s.message || "" : Object.entries(s.metrics || {}).slice(0, 3).map(([k, v]) =>
        `${k} = ${number(v)}`).join("  "))));
  const toggle = open => {
    const now = button.getAttribute("aria-expanded") === "true";
    if (open === undefined ? false : open === now) return;
    button.setAttribute("aria-expanded", String(!now));
    if (now) tr.nextSibling.remove();
    else tr.after(el("tr.detail", {id}, el("td", {colspan: 6}, detail(s))));
  };
  tr.addEventListener("click", e => { if (!String(getSelection())) toggle(); });
  tr.open = () => toggle(true);
  return tr;
}
function drawRows() {
  const list = matching();
  body.replaceChildren(...list.slice(0, limit).map(row));
  if (!list.length)
    body.append(el("tr", {}, el("td.empty", {colspan: 6}, "No step matches.")));
  more.hidden = list.length <= limit;
  more.textContent = `Show ${Math.min(PAGE, list.length - limit)} more of ${list.length}`;
}
function filterBy(text) {
  query = text;
  wanted = null;
  limit = PAGE;
  const input = $("steps").querySelector("input");
  input.value = text;
  pressFilter();
  drawRows();
  $("steps").scrollIntoView();
}
function reveal(address) {
  const find = () => [...body.querySelectorAll("tr.row")].find(t =>
    t.dataset.address === address);
  let tr = find();
  if (!tr) {
    filterBy(address);
    tr = find();
  }
  if (!tr) return;
  tr.open();
  tr.scrollIntoView({block: "center"});
  tr.querySelector("button").focus({preventScroll: true});
}
function pressFilter() {
  $("steps").querySelectorAll("[data-state]").forEach(b =>
    b.setAttribute("aria-pressed", String((b.dataset.state || null) === wanted)));
}
function steps() {
  const box = $("steps"), counts = {};
  for (const s of D.steps) counts[s.state] = (counts[s.state] || 0) + 1;
  const present = ORDER.filter(s => counts[s]);
  const filter = (state, label) => el("button", {type: "button", "data-state": state,
    "aria-pressed": String(!state), click: () => { wanted = state || null; limit = PAGE;
      pressFilter(); drawRows(); }}, label);
  const columns = [["state", "state", ""], ["address", "step", ""],
    ["start", "started at", "num hide"], ["took", "took", "num"],
    ["memory", "memory", "num hide"], [null, "", "hide"]];
  body = el("tbody");
  more = el("button", {type: "button", style: "margin-top:.7rem", click: () => {
    limit += PAGE; drawRows(); }});
  put(box,
    el(".bar", {}, el("h2", {}, "Steps"), el(".tools", {},
      present.length > 1 && [filter("", `all ${D.steps.length}`), present.map(s =>
        filter(s, `${s} ${counts[s]}`))],
      el("input", {type: "search", placeholder: "Filter by name or message",
        "aria-label": "Filter steps", input: e => { query = e.target.value; limit = PAGE;
          drawRows(); }}))),
    D.shown < D.total && el("p.quiet", {}, `This page holds ${D.shown.toLocaleString("en")
      } of ${D.total.toLocaleString("en")} steps: those that failed, then the first ones. `,
      "raywf status -v and raywf events list all of them."),
    el(".scroll", {}, el("table", {}, el("thead", {}, el("tr", {}, columns.map(([key, label,
      cls]) => el("th", {scope: "col", class: cls}, key ? el("button", {type: "button",
      title: "Sort", click: () => { ascending = sortBy === key ? !ascending : key !== "took"
        && key !== "memory"; sortBy = key; drawRows(); }}, label) : label)))), body)),
    more);
  drawRows();
}

/* --- configuration --- */

function facts(title, pairs) {
  return pairs.length > 0 && el("div", {}, el("h3", {}, title), el("dl", {}, pairs.map(
    ([k, v]) => [el("dt", {}, el("code", {}, k)), el("dd", {}, typeof v === "object" && v
      ? JSON.stringify(v) : String(v))])));
}
function config() {
  const c = D.config, given = c.given || {}, box = $("config");
  const options = [];
  if (given.profile) options.push(["--profile", given.profile]);
  for (const [k, v] of given.params || []) options.push(["--param", `${k}=${v}`]);
  for (const [k, v] of given.sets || []) options.push(["--set", `${k}=${v}`]);
  for (const v of c.only || []) options.push(["--only", v]);
  for (const v of c.from || []) options.push(["--from", v]);
  const machine = Object.entries(D.machine || {}).map(([k, v]) => [k, k === "memory" &&
    typeof v === "number" ? bytes(v) : v]);
  const files = Array.isArray(c.files) ? c.files : Object.entries(c.files || {}).map(
    ([path, f]) => typeof f === "string" ? {path, text: f} : {path, ...f});
  put(box, el(".bar", {}, el("h2", {}, "Configuration")),
    el(".columns", {},
      facts("Parameters", Object.entries(c.params || {})),
      facts("Command line", options),
      facts("Environment read", Object.entries(c.env || {}).map(([k, v]) => [k, v === null
        ? "(not set)" : v])),
      facts("Machine", machine)),
    files.filter(f => f.text).map(f => el("details", {open: false},
      el("summary", {}, f.shown || f.path),
      el("pre.log.source", {}, f.text.replace(/\n$/, "").split("\n").map(line =>
        el("span", {}, line))))));
}

function navigation() {
  const names = {failures: "Failures", checks: "Checks", graph: "Graph",
    timeline: "Timeline", metrics: "Metrics", steps: "Steps", config: "Configuration"};
  $("nav").append(el("div", {}, Object.entries(names).filter(([id]) => !$(id).hidden).map(
    ([id, name]) => el("a", {href: `#${id}`}, name))));
  $("foot").append(`Made by raywf ${D.run.raywf} from the event log of run ${D.run.id}. `,
    "This page is one file and asks no network for anything.");
}

head();
failures();
checks();
steps();
timeline();
metrics();
config();
graph();
navigation();
})();
