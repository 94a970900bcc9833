const SORTS = { doubt: "doubtful annotations first", cost: "most wrong first", suspect: "possible faults first",
  hard: "hardest first", many: "most objects first", small: "smallest objects first", name: "by file name" };

/** The weight of a picture's possible faults. @param {Picture} picture */
function suspicion(picture) {
  const weights = picture.findings.map(finding => page.data.kinds[finding[0]].weight).sort((a, b) => b - a);
  return weights.length ? weights[0] + sum(weights.slice(1, 4)) / 10 : 0;
}

/** The side of the smallest object, as a share of the picture. @param {Picture} picture */
function smallest(picture) {
  const areas = picture.objects.map(one => Math.max(0, one[3]) * Math.max(0, one[4]) / (picture.w * picture.h));
  return Math.sqrt(Math.min(4, ...areas));
}

/** How sure one can be that an annotation of it is wrong. @param {Picture} picture */
function doubtOf(picture) {
  return Math.max(0, ...(picture.doubts || []).map(doubt => doubt[1]));
}

/** What a sort goes by, the greatest first. @type {Record<string, (picture: Picture) => number>} */
const MEASURES = { doubt: doubtOf, cost: costOf, suspect: suspicion, hard: picture => picture.hard,
  many: picture => picture.objects.length, small: picture => -smallest(picture), name: () => 0 };

/** @param {Picture} a @param {Picture} b */
function byName(a, b) {
  return a.split - b.split || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}

/** The places of the pictures that fit the filters, in the order that is asked for. @returns {number[]} */
function chosen() {
  const { pictures } = page.data, fits = pictures.map((_, k) => k).filter(k => matches(pictures[k]));
  const measure = MEASURES[page.state.sort] || MEASURES.name, keys = new Map(fits.map(k => [k, measure(pictures[k])]));
  const second = page.state.sort === "name" ? () => 0 : page.data.results ? costOf : MEASURES.hard;
  const seconds = new Map(fits.map(k => [k, second(pictures[k])]));
  return fits.sort((a, b) => keys.get(b) - keys.get(a) || seconds.get(b) - seconds.get(a)
    || byName(pictures[a], pictures[b]));
}

/** @param {Picture} picture */
function matches(picture) {
  const { split, cls, fault, error, pair } = page.state;
  return (!split || String(picture.split) === split)
    && (!cls || picture.objects.some(one => String(one[0]) === cls))
    && (!fault || picture.findings.some(finding => finding[0] === fault))
    && (!error || hasError(picture, error)) && (!pair || hasPair(picture, pair));
}

/** @param {Picture} picture @param {string} error */
function hasError(picture, error) {
  if (error === "doubt") return Boolean(picture.doubts && picture.doubts.length);
  if (error === "missed") return wrongs(picture).missed.length > 0;
  const fate = Object.keys(page.data.results ? page.data.results.fates : {}).indexOf(error);
  return detectionsOf(picture).some(one => one[6] === fate);
}

/** Whether a picture has what a cell of the confusion table counts. @param {Picture} picture @param {string} pair */
function hasPair(picture, pair) {
  const [row, column] = pair.split(",").map(Number), seen = detectionsOf(picture), { missed } = wrongs(picture);
  if (column < 0 && row >= 0) return missed.some(k => picture.objects[k][0] === row
    && !seen.some(one => one[6] === CLASS && one[7] === k));
  return seen.some(one => one[0] === column && one[6] !== CROWD && (one[6] === RIGHT || one[6] === CLASS
    ? picture.objects[one[7]][0] === row : row < 0));
}

/** Sort, filters and switches. */
function drawTools() {
  const { splits, classes } = page.data.summary, { kinds, results } = page.data;
  const sorts = Object.entries(SORTS).filter(([key]) => results || (key !== "doubt" && key !== "cost"));
  const any = name => /** @type {[string, string]} */ (["", name]);
  const faults = Object.entries(kinds).filter(([, kind]) => kind.count).map(([key, kind]) => [key, kind.title]);
  byId("tools").replaceChildren(choice("sort", "Order", sorts),
    splits.length > 1 && choice("split", "Split", [any("all"), ...splits.map((one, k) => [String(k), one.name])]) || "",
    choice("cls", "Class", [any("all"), ...classes.map((one, k) => [String(k), one.name])]),
    choice("fault", "Fault", [any("with and without"), ...faults]),
    results ? choice("error", "Result", [any("all"), ...errors(results)]) : "",
    switchOf("boxes", "Boxes"), switchOf("names", "Names"), resetButton());
}

/** @param {any} results */
function errors(results) {
  return [["doubt", "annotation in doubt"], ["missed", "missed"], ...Object.keys(results.fates).map(key => [key, key])];
}

/** @param {keyof State} key @param {string} name @param {string[][]} options */
function choice(key, name, options) {
  const select = el("select", { id: `tool-${key}`, change: event => go({ [key]: event.target.value }) },
    ...options.map(([value, text]) => el("option", { value, selected: page.state[key] === value }, text)));
  return el("label", {}, el("span", {}, name), select);
}

/** @param {"boxes" | "names"} key @param {string} name */
function switchOf(key, name) {
  const input = el("input", { type: "checkbox", id: `tool-${key}`, checked: Boolean(page.state[key]),
    change: event => go({ [key]: event.target.checked ? "1" : "" }) });
  return el("label", { class: "switch" }, input, el("span", {}, name));
}

function resetButton() {
  const { split, cls, fault, error, pair } = page.state;
  return el("button", { type: "button", class: "reset", hidden: !(split || cls || fault || error || pair),
    click: () => go({ split: "", cls: "", fault: "", error: "", pair: "" }) }, "Clear filters");
}

/** @param {number} most */
function drawGrid(most) {
  page.shown = chosen();
  const part = page.shown.slice(0, most);
  byId("grid").replaceChildren(...part.map(card));
  byId("grid").dataset.most = most;
  byId("status").textContent = describeGrid(part.length);
  byId("legend").replaceChildren(...legend());
  byId("more").parentElement.hidden = part.length === page.shown.length;
}

/** What the lines on the pictures mean. */
function legend() {
  const line = (kind, name) => el("span", {}, el("i", { class: `line ${kind}`, "aria-hidden": "true" }), name);
  const model = page.data.results ? [line("found", "found"), line("missed", "missed"), line("false", "false detection"),
    line("doubted", "in doubt")] : [line("own", "in the color of the class")];
  return [...model, line("fault", "possible fault"), line("crowd", "crowd")];
}

/** @param {number} part */
function describeGrid(part) {
  const { pair } = page.state, whole = page.shown.length;
  const [row, column] = pair.split(",").map(Number);
  const only = pair ? `: ${pairWords(row, column)}` : "";
  if (!whole) return `No picture on this page fits${only}.`;
  return `${counted(whole, "picture")}${only}${part < whole ? `; the first ${part} are shown` : ""}.`;
}

/** @param {number} index */
function card(index) {
  const picture = page.data.pictures[index], pixel = Math.max(picture.w / 210, picture.h / 158);
  const open = el("button", { type: "button", class: "open", click: () => go({ p: keyOf(picture) }) },
    drawing(index, pixel, describe(picture)));
  return el("li", { class: "card", "data-key": keyOf(picture) }, open,
    el("p", { class: "file", title: picture.name }, picture.name), el("p", { class: "marks" }, ...badges(picture)));
}

/** @param {Picture} picture */
function describe(picture) {
  const counts = new Map();
  for (const one of picture.objects) counts.set(one[0], (counts.get(one[0]) || 0) + 1);
  const objects = [...counts].map(([k, n]) => `${n} ${className(k)}`).join(", ") || "no objects";
  return `${picture.name}: ${objects}`;
}

/** @param {Picture} picture */
function badges(picture) {
  const kinds = [...new Set(picture.findings.map(finding => finding[0]))];
  const faults = kinds.map(key => el("span", { class: page.data.kinds[key].weight < 1 ? "badge" : "badge fault" },
    page.data.kinds[key].title));
  const total = picture.objects.length, objects = total > 0 && el("span", { class: "badge" }, counted(total, "object"));
  if (!page.data.results) return [objects, ...faults].filter(Boolean);
  const { missed, wrong } = wrongs(picture);
  const right = picture.objects.filter(one => !one[5]).length - missed.length;
  const doubts = [...new Set((picture.doubts || []).map(doubt => doubt[0]))].map(key =>
    el("span", { class: "badge doubt" }, page.data.results.doubts[key].split("?")[0] + "?"));
  return [...doubts, el("span", { class: "badge good" }, `${right} right`),
    missed.length > 0 && el("span", { class: "badge bad" }, `${missed.length} missed`),
    wrong.length > 0 && el("span", { class: "badge bad" }, `${wrong.length} false`), ...faults].filter(Boolean);
}
