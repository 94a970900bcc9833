/** The head: how much there is of everything. */
function drawFacts() {
  const { splits, classes } = page.data.summary, add = (key) => sum(splits.map(split => split[key]));
  const facts = [["pictures", add("pictures")], ["objects", add("objects")], ["classes", classes.length]];
  if (add("crowds")) facts.push(["crowds", add("crowds")]);
  if (splits.length > 1) facts.push(...splits.map(split => [`pictures in ${split.name}`, split.pictures]));
  byId("facts").replaceChildren(...facts.map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, count(value)))));
  const parts = [["glance-title", "At a glance"], ["model", "The model"], ["classes", "Classes"], ["sizes", "Sizes"],
    ["faults", "Faults"], ["pictures", "Pictures"]].filter(([id]) => id !== "model" || page.data.results);
  byId("parts").replaceChildren(...parts.map(([id, name]) => el("button", { type: "button",
    click: () => jump(id) }, name)));
}

/** Scroll to a part, without a fragment: the address holds the view. @param {string} id */
function jump(id) {
  byId(id).scrollIntoView();
  const title = byId(id).querySelector("h2") || byId(id);
  title.setAttribute("tabindex", "-1");
  title.focus({ preventScroll: true });
}

/** Show pictures by a filter, and go there. @param {Partial<State>} change */
function showPictures(change) {
  go({ split: "", cls: "", fault: "", error: "", pair: "", ...change });
  jump("pictures");
}

function drawClasses() {
  const { classes, splits } = page.data.summary, several = splits.length > 1;
  const most = Math.max(1, ...classes.map(one => one.objects));
  const heads = ["class", "objects", ...(several ? splits.map(split => split.name) : []), "pictures", "median size",
    "smallest"];
  const order = classes.map((_, k) => k).sort((a, b) => classes[b].objects - classes[a].objects || a - b);
  const body = order.map(k => classRow(k, most, several));
  byId("class-table").replaceChildren(el("table", { class: "classes" },
    el("thead", {}, el("tr", {}, ...heads.map(head => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...body)));
}

/** @param {number} k @param {number} most @param {boolean} several */
function classRow(k, most, several) {
  const one = page.data.summary.classes[k], size = value => value === null ? "–" : `${value} px`;
  const bar = el("span", { class: "bar", style: `width:${(100 * one.objects / most).toFixed(2)}%;` +
    `background:${colourOf(k)}` });
  return el("tr", {}, el("th", { scope: "row" }, classButton(k)),
    el("td", { class: "wide" }, el("span", { class: "track" }, bar),
      el("span", { class: "number" }, count(one.objects))),
    ...(several ? one.by_split.map(value => el("td", { class: "number" }, count(value))) : []),
    el("td", { class: "number" }, count(one.pictures)), el("td", { class: "number" }, size(one.median)),
    el("td", { class: "number" }, size(one.smallest)));
}

/** @param {number} k */
function classButton(k) {
  const on = page.state.cls === String(k);
  return toggle([swatch(k), className(k)], on, () => showPictures({ cls: on ? "" : String(k) }), { class: "class" });
}

/** @param {number} k */
function swatch(k) {
  return el("span", { class: "swatch", style: `background:${colourOf(k)}`, "aria-hidden": "true" });
}

/** Sentences on what one should know first. */
function drawGlance() {
  byId("glance").replaceChildren(...[doubtSentence(), resultSentence(), faultSentence(), smallSentence(),
    querySentence(), rareSentence(), emptySentence()].filter(Boolean).map(one => el("li", {}, ...one)));
}

function doubtSentence() {
  if (!page.data.results) return null;
  const total = sum(Object.values(page.data.results.doubted));
  if (!total) return ["The model doubts none of the annotations."];
  return [el("b", {}, counted(total, "annotation")), " may be wrong: the model is sure of something else. ",
    el("button", { type: "button", class: "link", click: () => showPictures({ error: "doubt", sort: "doubt" }) },
      "Look at them first")];
}

function resultSentence() {
  const { results } = page.data;
  if (!results) return null;
  const known = results.ap50.filter(value => value !== null);
  return [el("b", {}, `AP50 ${(sum(known) / Math.max(1, known.length)).toFixed(3)}`),
    `, the mean over ${counted(known.length, "class").replace("classs", "classes")}, of the model `,
    el("b", {}, results.model), "."];
}

function faultSentence() {
  const kinds = Object.entries(page.data.kinds).filter(([key, kind]) => kind.weight >= 1 && kind.count);
  const total = sum(kinds.map(([, kind]) => kind.count)) + page.data.words.length + page.data.unlisted;
  if (!total) return ["No possible faults were found."];
  const names = kinds.map(([, kind]) => `${kind.title.toLowerCase()} ${count(kind.count)}`).join(", ");
  return [el("b", {}, counted(total, "possible fault")), names ? `: ${names}. ` : ". ",
    el("button", { type: "button", class: "link", click: () => jump("faults") }, "See them")];
}

function smallSentence() {
  const view = page.data.summary.views[Number(page.state.view)], total = sum(view.sizes);
  return [el("b", {}, percent(view.small, total)), ` of objects are under ${page.data.bins.small} px for `,
    el("b", {}, view.name), ` (${describeView(view)}).`];
}

function querySentence() {
  const view = page.data.summary.views[Number(page.state.view)];
  if (!view.full) return null;
  return [el("b", {}, counted(view.full, "picture")), ` have more objects than the ${view.queries} queries of `,
    el("b", {}, view.name), "; what is too many is never found."];
}

function rareSentence() {
  const rare = page.data.summary.classes.filter(one => one.objects < 20);
  if (!rare.length) return null;
  const names = rare.slice(0, 6).map(one => `${one.name} ${one.objects}`).join(", ");
  return [el("b", {}, counted(rare.length, "class").replace("classs", "classes")),
    ` with fewer than 20 objects: ${names}${rare.length > 6 ? ", …" : ""}.`];
}

function emptySentence() {
  const empty = sum(page.data.summary.splits.map(split => split.empty));
  return empty ? [el("b", {}, counted(empty, "picture")), " without objects."] : null;
}
