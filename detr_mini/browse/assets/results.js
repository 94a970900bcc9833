/** The counts of the step that the threshold names. */
function step() {
  const { thresholds, steps } = page.data.results;
  const k = thresholds.findIndex(value => value >= threshold() - 1e-9);
  return steps[k < 0 ? steps.length - 1 : k];
}

function prepareResults() {
  const { results } = page.data;
  if (!results) return;
  byId("model").hidden = false;
  const { thresholds } = results, slider = byId("threshold");
  byId("model-lead").textContent = `The model ${results.model}, compared with the annotations at an IoU of ` +
    `${results.match} as COCO’s evaluation does: from the highest score down, each detection takes the free object ` +
    "of its class that it overlaps most. The kinds of errors are in the manner of TIDE (Bolya et al., 2020).";
  dress(slider, { min: 0, max: thresholds.length - 1, step: 1,
    input: () => go({ t: String(thresholds[slider.value]) }) });
}

function drawResults() {
  const { results } = page.data;
  if (!results) return;
  const place = results.thresholds.findIndex(value => value >= threshold() - 1e-9);
  const said = threshold().toFixed(2), now = step();
  byId("threshold").value = place;
  byId("threshold").setAttribute("aria-valuetext", `score ${said}`);
  byId("threshold-said").textContent = `${said}: ${count(sum(now.right))} right, ${count(sum(now.missed))} missed, ` +
    `${count(sum(now.false))} false`;
  byId("outcomes").replaceChildren(...outcomes(now));
  byId("class-results").replaceChildren(classResults(now));
  byId("confusion").replaceChildren(confusion(now));
}

/** Matched, missed and each kind of error, as tiles. @param {any} now */
function outcomes(now) {
  const { fates, doubts, doubted } = page.data.results, total = sum(now.right) + sum(now.missed);
  const tile = (key, name, value, where, meaning, kind) => kindButton(name, value, where, meaning,
    page.state.error === key, () => showPictures({ error: page.state.error === key ? "" : key }), kind);
  const names = { duplicate: "Duplicates", class: "Wrong class", box: "Poor box", both: "Class and box",
    background: "Background" };
  const wrong = Object.keys(fates).flatMap((key, k) => names[key] ? [tile(key, names[key], now.kinds[k],
    `of ${count(sum(now.false))} false`, fates[key], "bad")] : []);
  const told = Object.entries(doubts).map(([key, text]) =>
    `${text.split("?")[0].toLowerCase()}: ${doubted[key] || 0}`);
  const doubt = tile("doubt", "In doubt", sum(Object.values(doubted)), "annotations, at any threshold",
    told.join(", "), "doubt");
  return [tile("right", "Right", sum(now.right), `${percent(sum(now.right), total)} of objects`, fates.right, "good"),
    tile("missed", "Missed", sum(now.missed), `${percent(sum(now.missed), total)} of objects`,
      `objects that no detection matches; ${count(now.unseen)} of them no other class claims`, "bad"), ...wrong, doubt];
}

/** @param {any} now */
function classResults(now) {
  const { classes } = page.data.summary, { ap50 } = page.data.results;
  const order = classes.map((_, k) => k).filter(k => ap50[k] !== null || now.false[k])
    .sort((a, b) => (ap50[a] ?? -1) - (ap50[b] ?? -1) || a - b);
  const share = (part, whole) => whole ? (part / whole).toFixed(2) : "–";
  const body = order.map(k => el("tr", {}, el("th", { scope: "row" }, classButton(k)),
    el("td", { class: "wide" }, el("span", { class: "track" }, el("span", { class: "bar",
      style: `width:${100 * (ap50[k] || 0)}%;background:${colourOf(k)}` })),
      el("span", { class: "number" }, ap50[k] === null ? "–" : ap50[k].toFixed(3))),
    ...[share(now.right[k], now.right[k] + now.missed[k]), share(now.right[k], now.right[k] + now.false[k]),
      count(now.missed[k]), count(now.false[k])].map(text => el("td", { class: "number" }, text))));
  return el("table", { class: "classes" }, el("thead", {}, el("tr", {}, ...["class", "AP50", "recall", "precision",
    "missed", "false"].map(head => el("th", { scope: "col" }, head)))), el("tbody", {}, ...body));
}

/** @param {any} now */
function confusion(now) {
  const present = new Set(now.confusion.flatMap(([row, column]) => [row, column]));
  const used = page.data.summary.classes.map((_, k) => k).filter(k => present.has(k));
  return used.length > 20 ? confusionList(now) : confusionTable(now, used);
}

/** @param {any} now @param {number[]} used */
function confusionTable(now, used) {
  const cells = new Map(now.confusion.map(([row, column, n]) => [`${row},${column}`, n])), order = [...used, -1];
  const wholes = new Map(order.map(row => [row, sum(order.map(column => cells.get(`${row},${column}`) || 0))]));
  const head = el("tr", {}, el("td", {}), ...order.map(k => el("th", { scope: "col" },
    el("span", {}, k < 0 ? "missed" : className(k)))));
  const body = order.map(row => el("tr", {}, el("th", { scope: "row" }, row < 0 ? "no match" : className(row)),
    ...order.map(column => confusionCell(row, column, cells.get(`${row},${column}`) || 0, wholes.get(row) || 1))));
  return el("table", { class: "confusion" }, el("thead", {}, head), el("tbody", {}, ...body));
}

/** What a cell of the table counts. @param {number} row @param {number} column */
function pairWords(row, column) {
  if (row < 0) return `${className(column)} without a match`;
  return `${className(row)} ${column < 0 ? "missed" : `taken for ${className(column)}`}`;
}

/** @param {number} row @param {number} column @param {number} n @param {number} whole */
function confusionCell(row, column, n, whole) {
  if (!n) return el("td", { class: "none" }, "·");
  const key = `${row},${column}`, right = row === column;
  const said = `${pairWords(row, column)}: ${n}`;
  const strength = Math.round(8 + 62 * Math.min(1, n / whole));
  return el("td", {}, toggle([count(n)], page.state.pair === key, () => showPictures({ pair: key }), {
    class: right ? "right" : "wrong", "aria-label": said, style: `--strength:${strength}%` }));
}

/** Of many classes, the most frequent mistakes. @param {any} now */
function confusionList(now) {
  const wrong = now.confusion.filter(([row, column]) => row !== column).sort((a, b) => b[2] - a[2]).slice(0, 25);
  return el("ul", { class: "rows" }, ...wrong.map(([row, column, n]) => el("li", {},
    el("button", { type: "button", class: "link", click: () => showPictures({ pair: `${row},${column}` }) },
      `${pairWords(row, column)}: ${count(n)}`))));
}
