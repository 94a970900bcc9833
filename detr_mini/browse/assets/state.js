/**
 * An object: class, x, y, width, height, whether it is a crowd. A detection: class (-1: unknown to the data), x, y,
 * width, height, score, fate, the object it is about or -1, IoU with it. A doubt: kind, how sure, detection, object.
 * @typedef {[number, number, number, number, number, number]} Box
 * @typedef {[number, number, number, number, number, number, number, number, number]} Detection
 * @typedef {{split: number, id: number|string, name: string, w: number, h: number, href: string, objects: Box[],
 *   findings: [string, number[], string][], hard: number, detections?: Detection[], found?: number[],
 *   doubts?: [string, number, number, number][]}} Picture
 * @typedef {{split: string, cls: string, fault: string, error: string, pair: string, sort: string, boxes: string,
 *   names: string, t: string, view: string, heat: string, p: string}} State
 */

/** What the page holds. @type {{data: any, thumbnails: string[], state: State, shown: number[]}} */
const page = { data: null, thumbnails: [], state: /** @type {any} */ ({}), shown: [] };

const RIGHT = 0, CLASS = 2, CROWD = 6; // fates, as the data numbers them
const STEP = 48; // pictures that are added to the grid at once

/** @returns {State} */
function defaults() {
  const sort = page.data.results ? "doubt" : "suspect";
  return { split: "", cls: "", fault: "", error: "", pair: "", sort, boxes: "1", names: "", t: "0.5", view: "0",
    heat: "", p: "" };
}

/** The view that the address names. @returns {State} */
function readAddress() {
  const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const known = defaults();
  for (const key of Object.keys(known)) {
    if (key in asked && allowed(key, asked[key])) known[/** @type {keyof State} */ (key)] = asked[key];
  }
  return known;
}

/** Whether a value can be drawn: an address may be cut, or of another page.
 * @param {string} key @param {string} value */
function allowed(key, value) {
  if (key === "view") return value in page.data.summary.views;
  if (key === "t") return Number(value) >= 0 && Number(value) <= 1;
  if (key === "sort") return value in SORTS;
  return true;
}

/** Put the view into the address; a picture that is opened is a step that the browser's Back undoes.
 * @param {boolean} asStep */
function writeAddress(asStep) {
  const usual = defaults(), changed = Object.entries(page.state).filter(([key, value]) => value !== usual[key]);
  const hash = "#" + new URLSearchParams(changed).toString();
  if (hash !== location.hash) history[asStep ? "pushState" : "replaceState"](null, "", hash);
}

/** Change the view. @param {Partial<State>} change */
function go(change) {
  const before = { ...page.state };
  Object.assign(page.state, change);
  writeAddress(Boolean(change.p) && !before.p);
  draw(before);
}

/** The key of a picture in the address. @param {Picture} picture */
function keyOf(picture) {
  return `${page.data.summary.splits[picture.split].name}/${picture.id}`;
}

/** @returns {number} */
function threshold() {
  return Number(page.state.t);
}

/** @param {number} k @returns {string} */
function className(k) {
  return k < 0 ? "unknown class" : page.data.summary.classes[k].name;
}

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/** The color of a class: of the palette, then hues by the golden angle. @param {number} k */
function colourOf(k) {
  if (k < 0) return "#9aa1a9";
  if (k < COLOURS.length) return COLOURS[k];
  const turn = ((0.405 - 0.381966 * k) % 1 + 1) % 1;
  return `hsl(${Math.round(360 * turn)} 65% ${[38, 50, 60, 47][k % 4]}%)`;
}

/** The detections above the threshold. @param {Picture} picture @returns {Detection[]} */
function detectionsOf(picture) {
  return (picture.detections || []).filter(one => one[5] >= threshold());
}

/** What the model gets wrong in a picture, above the threshold. @param {Picture} picture */
function wrongs(picture) {
  const found = picture.found || [];
  const missed = picture.objects.flatMap((one, k) => one[5] || found[k] >= threshold() ? [] : [k]);
  const wrong = detectionsOf(picture).filter(one => one[6] !== RIGHT && one[6] !== CROWD);
  return { missed, wrong };
}

/** What a picture costs: one for each missed object, its score for each wrong detection. @param {Picture} picture */
function costOf(picture) {
  const { missed, wrong } = wrongs(picture);
  return missed.length + sum(wrong.map(one => one[5]));
}
