/** Upright bars. A bar that is marked stands out.
 * @param {{title: string, labels: string[], values: number[], marked?: (k: number) => boolean, note?: Child,
 *   unit?: string}} chart */
function bars({ title, labels, values, marked = () => false, note, unit = "objects" }) {
  const most = Math.max(1, ...values), total = sum(values);
  const told = labels.map((label, k) => `${label || "between"}: ${count(values[k])}`).join("; ");
  const columns = values.map((value, k) => el("div", { class: marked(k) ? "column marked" : "column" },
    el("span", { class: "value" }, value ? percent(value, total) : ""),
    el("span", { class: "bar", style: `height:${(8 * value / most).toFixed(3)}rem` }),
    el("span", { class: "label" }, labels[k])));
  const said = `${title}, number of ${unit}. ${told}`;
  return figure(title, el("div", { class: values.length > 9 ? "bars dense" : "bars", role: "img", "aria-label": said },
    ...columns), note);
}

/** @param {string} title @param {Node} drawing @param {Child} note */
function figure(title, drawing, note) {
  return el("figure", {}, el("figcaption", {}, el("strong", {}, title), note && el("span", {}, note)), drawing);
}

/** Lying bars, for a few names. @param {string} title @param {[string, number][]} rows @param {Child} note */
function rows(title, rows, note) {
  const most = Math.max(1, ...rows.map(row => row[1]));
  return figure(title, el("ul", { class: "rows" }, ...rows.map(([name, value]) => el("li", {},
    el("span", { class: "name" }, name),
    el("span", { class: "bar", style: `width:${(60 * value / most).toFixed(2)}%` }),
    el("span", { class: "number" }, count(value))))), note);
}

/** Where the charts of sizes begin. */
function drawCharts() {
  const view = page.data.summary.views[Number(page.state.view)] || page.data.summary.views[0];
  byId("view-said").textContent = describeView(view);
  byId("charts").replaceChildren(objectSizes(view), pictureSizes(), crowding(view), shapes(), places());
}

/** @param {any} view */
function describeView(view) {
  const size = view.size ? `short side ${view.size} px, long side at most ${view.longest}` :
    `long side at most ${view.longest} px`;
  return `${size}; ${view.queries} queries`;
}

/** @param {any} view */
function objectSizes(view) {
  const edges = page.data.bins.sizes, total = sum(view.sizes), small = page.data.bins.small;
  const last = view.sizes.findLastIndex(value => value > 0), labels = edges.slice(0, last + 1).map(low => `${low}+`);
  const note = `${percent(view.small, total)} are under ${small} px there: little for a model to see.`;
  return bars({ title: "Objects after resizing, in pixels", labels, values: view.sizes.slice(0, last + 1), note,
    marked: k => edges[k] < small });
}

function pictureSizes() {
  const sizes = page.data.summary.pictures, title = "Sizes of pictures, in pixels";
  if (sizes.length > 8) return bubbles(title, sizes);
  return rows(title, sizes.map(([w, h, n]) => [`${w} × ${h}`, n]), null);
}

/** Width across, height up, area of a circle by count. @param {string} title @param {number[][]} sizes */
function bubbles(title, sizes) {
  const widest = Math.max(...sizes.map(s => s[0])), highest = Math.max(...sizes.map(s => s[1]));
  const most = Math.max(...sizes.map(s => s[2])), top = Math.max(widest, highest) * 1.08;
  const x = /** @param {number} v */ v => 34 + 280 * v / top, y = /** @param {number} v */ v => 190 - 180 * v / top;
  const circles = sizes.map(([w, h, n]) => svg("circle", { cx: x(w), cy: y(h), r: 2 + 11 * Math.sqrt(n / most) },
    svg("title", {}, `${w} × ${h}: ${count(n)}`)));
  const said = `${title}: widths up to ${widest}, heights up to ${highest}; the commonest is ` +
    `${sizes[0][0]} × ${sizes[0][1]}, ${count(sizes[0][2])} pictures`;
  const note = `up to ${widest} × ${highest}; most often ${sizes[0][0]} × ${sizes[0][1]}`;
  return figure(title, svg("svg", { class: "plane", viewBox: "0 0 320 215", role: "img", "aria-label": said },
    ...axes(x, y, widest, highest), ...circles), note);
}

/** Lines and numbers at round steps. @param {(v: number) => number} x @param {(v: number) => number} y
 * @param {number} widest @param {number} highest */
function axes(x, y, widest, highest) {
  const step = roundStep(Math.max(widest, highest) / 4), parts = [];
  for (let v = step; v <= Math.max(widest, highest); v += step) {
    parts.push(svg("path", { class: "line", d: `M${x(v)} ${y(0)}V10M${x(0)} ${y(v)}H314` }));
    parts.push(svg("text", { x: x(v), y: 206, "text-anchor": "middle" }, String(v)));
    parts.push(svg("text", { x: x(0) - 4, y: y(v) + 4, "text-anchor": "end" }, String(v)));
  }
  return parts;
}

/** The largest of 1, 2, 5, 10, 20, ... within a value. @param {number} value */
function roundStep(value) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return ten * (value >= 5 * ten ? 5 : value >= 2 * ten ? 2 : 1);
}

/** @param {any} view */
function crowding(view) {
  const counts = page.data.summary.crowding, width = Math.max(1, Math.ceil(counts.length / 24));
  const starts = Array.from({ length: Math.ceil(counts.length / width) }, (_, k) => k * width);
  const values = starts.map(start => sum(counts.slice(start, start + width)));
  const labels = starts.map(start => width > 1 ? `${start}–${start + width - 1}` : String(start));
  const note = view.full ?
    `${counted(view.full, "picture")} with more than ${view.queries}: the rest cannot be found.` :
    `The most is ${counts.length - 1}; ${view.queries} queries are enough.`;
  return bars({ title: "Objects in a picture, against queries", labels, values, note, unit: "pictures",
    marked: k => starts[k] + width - 1 > view.queries });
}

function shapes() {
  const edges = page.data.bins.shapes, ends = ["1 : 8", "1 : 4", "1 : 2", "1 : 1", "2 : 1", "4 : 1", "8 : 1"];
  const labels = edges.slice(0, -1).map((low, k) => Number.isInteger(low + 0.5) ? ends[low + 0.5 + 3] ?? "" : "");
  return bars({ title: "Shapes of boxes, width to height", labels, values: page.data.summary.shapes,
    note: "from upright to lying" });
}

/** Maps of how often boxes cover a place: of all classes, of the commonest, and of one that is chosen. */
function places() {
  const { classes } = page.data.summary, few = classes.length <= MAPS;
  const asked = few || !classes[page.state.heat] ? -1 : Number(page.state.heat);
  const order = classes.map((_, k) => k).sort((a, b) => Number(b === asked) - Number(a === asked)
    || classes[b].objects - classes[a].objects);
  const maps = [place("all classes", allPlaces(classes)), ...order.slice(0, MAPS).filter(k => classes[k].objects)
    .map(k => place(classes[k].name, classes[k].places))];
  const choice = few ? "from few boxes, pale, to most, dark; each map for itself" : el("select", { id: "heat",
    "aria-label": "A class to map first", change: event => go({ heat: event.target.value }) },
  el("option", { value: "" }, "the commonest"),
  ...classes.map((cls, k) => el("option", { value: k, selected: asked === k }, cls.name)));
  const whole = figure("Where objects lie", el("div", { class: "maps" }, ...maps), choice);
  whole.className = "broad";
  return whole;
}

const MAPS = 11; // beside that of all classes

/** One map with its name. @param {string} name @param {number[]} values */
function place(name, values) {
  const side = Math.sqrt(values.length);
  const cells = values.map((value, k) => value > 1 ? svg("rect", { x: k % side, y: Math.floor(k / side), width: 1,
    height: 1, "fill-opacity": (value / 99).toFixed(2) }) : null);
  return el("div", {}, svg("svg", { class: "heat", viewBox: `0 0 ${side} ${side}`, role: "img",
    preserveAspectRatio: "none", "aria-label": `Where objects of ${name} lie: mostly ${mostly(values, side)}` },
  ...cells),
  el("p", { "aria-hidden": "true" }, name));
}

/** @param {any[]} classes @returns {number[]} */
function allPlaces(classes) {
  const wholes = classes.map(cls => Math.max(1, sum(cls.places)));
  const total = (classes[0] || { places: [0] }).places.map((_, k) =>
    sum(classes.map((cls, c) => cls.objects * cls.places[k] / wholes[c])));
  const most = Math.max(...total, 1e-9);
  return total.map(value => 99 * value / most);
}

/** The ninth of the picture with most. @param {number[]} values @param {number} side */
function mostly(values, side) {
  const ninths = new Array(9).fill(0), third = /** @param {number} v */ v => Math.floor(3 * v / side);
  values.forEach((value, k) => { ninths[3 * third(Math.floor(k / side)) + third(k % side)] += value; });
  const best = ninths.indexOf(Math.max(...ninths)), rows = ["at the top", "in the middle", "at the bottom"];
  return `${rows[Math.floor(best / 3)]}, ${["left", "center", "right"][best % 3]}`;
}
