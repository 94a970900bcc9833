/** What the large view looks at: the mark that is pointed at, and whether it is zoomed in on. */
const focus = { key: "", zoomed: false };

/** The place of the open picture, or -1. */
function openIndex() {
  return page.state.p ? page.data.pictures.findIndex(picture => keyOf(picture) === page.state.p) : -1;
}

function drawLarge() {
  const dialog = byId("large"), index = openIndex();
  if (index < 0) {
    if (dialog.open) dialog.close();
    return;
  }
  const kept = dialog.contains(document.activeElement) ? document.activeElement.id : "";
  dialog.replaceChildren(...largeParts(index));
  if (!dialog.open) dialog.showModal();
  sizeDrawing(index);
  (byId(kept) || byId("large-close")).focus();
}

/** @param {number} index */
function largeParts(index) {
  const picture = page.data.pictures[index];
  const stage = el("div", { class: "stage", id: "stage" });
  listenToSwipes(stage);
  return [largeHead(picture, page.shown.indexOf(index)), largeButtons(page.shown.indexOf(index)), stage,
    el("div", { class: "about", tabindex: 0, role: "region", "aria-label": "Boxes of the picture" },
      ...aboutPicture(picture))];
}

/** @param {Picture} picture @param {number} place */
function largeHead(picture, place) {
  const where = place < 0 ? "not among the chosen" : `${count(place + 1)} of ${count(page.shown.length)}`;
  return el("header", {}, el("h2", { id: "large-title" }, picture.name),
    el("p", {}, `${page.data.summary.splits[picture.split].name}, ${picture.w} × ${picture.h}, ${where}`,
      picture.href && el("a", { href: picture.href, target: "_blank", rel: "noopener" }, "open the file")));
}

/** @param {number} place */
function largeButtons(place) {
  const button = (id, name, said, press, off = false) =>
    el("button", { type: "button", id, "aria-label": said, click: press, disabled: off }, name);
  return el("div", { class: "buttons" },
    button("large-previous", "←", "Previous picture", () => turn(-1), place <= 0),
    button("large-next", "→", "Next picture", () => turn(1), place < 0 || place + 1 >= page.shown.length),
    toggle(["Boxes"], Boolean(page.state.boxes), () => flip("boxes"), { id: "large-boxes" }),
    toggle(["Names"], Boolean(page.state.names), () => flip("names"), { id: "large-names" }),
    button("large-close", "✕", "Close", () => go({ p: "" })));
}

/** @param {"boxes" | "names"} key */
function flip(key) {
  go({ [key]: page.state[key] ? "" : "1" });
}

/** Draw the picture as large as there is room. @param {number} index */
function sizeDrawing(index) {
  const stage = byId("stage"), picture = page.data.pictures[index], mark = markOf(picture);
  const area = focus.zoomed && mark ? around(mark.box, picture) : [0, 0, picture.w, picture.h];
  const room = stage.getBoundingClientRect();
  const pixel = Math.max(area[2] / Math.max(1, room.width), area[3] / Math.max(1, room.height));
  stage.replaceChildren(drawing(index, pixel, describe(picture), area));
  point(focus.key);
}

/** @param {Picture} picture */
function markOf(picture) {
  return marksOf(picture, false).find(mark => mark.key === focus.key);
}

/** The part of a picture around a box, of the picture's shape. @param {number[]} box @param {Picture} picture */
function around(box, picture) {
  const share = Math.min(1, Math.max(box[2] / picture.w, box[3] / picture.h, 0.04) * 2.2);
  const w = share * picture.w, h = share * picture.h;
  const x = Math.min(Math.max(box[0] + box[2] / 2 - w / 2, 0), picture.w - w);
  const y = Math.min(Math.max(box[1] + box[3] / 2 - h / 2, 0), picture.h - h);
  return [x, y, w, h];
}

/** Let a box stand out. @param {string} key */
function point(key) {
  focus.key = key;
  for (const box of document.querySelectorAll("#large .box")) {
    box.classList.toggle("pointed", /** @type {HTMLElement} */ (box).dataset.key === key);
  }
}

/** Zoom in on a box, or out again. @param {string} key */
function zoom(key) {
  focus.zoomed = !(focus.zoomed && focus.key === key);
  focus.key = key;
  sizeDrawing(openIndex());
  for (const button of document.querySelectorAll("#large .about button")) {
    button.setAttribute("aria-pressed", String(focus.zoomed && button.id === `row-${key}`));
  }
}

/** The lists beside a picture. @param {Picture} picture */
function aboutPicture(picture) {
  const parts = [];
  const doubts = (picture.doubts || []).map(doubt => el("li", {}, doubtWords(picture, doubt)));
  if (doubts.length) parts.push(el("h3", {}, "In doubt"), el("ul", { class: "words" }, ...doubts));
  const faults = picture.findings.map(([kind, , text]) =>
    el("li", {}, el("b", {}, page.data.kinds[kind].title), ` ${text}`));
  if (faults.length) parts.push(el("h3", {}, "Possible faults"), el("ul", { class: "words" }, ...faults));
  parts.push(el("h3", {}, counted(picture.objects.length, "annotated object")), objectList(picture));
  if (picture.detections) parts.push(el("h3", {}, `${counted(detectionsOf(picture).length, "detection")} above ` +
    threshold().toFixed(2)), detectionList(picture));
  parts.push(el("p", { class: "small" }, "A box zooms in. Arrow keys turn the pages, B and N switch boxes and names, " +
    "Escape closes."));
  return parts;
}

/** @param {Picture} picture @param {[string, number, number, number]} doubt */
function doubtWords(picture, [kind, , d, k]) {
  const one = (picture.detections || [])[d], what = page.data.results.doubts[kind].split("?")[0];
  const found = one ? `the model says ${className(one[0])}, score ${one[5].toFixed(2)}` : "";
  const instead = k >= 0 ? `, where the annotation says ${className(picture.objects[k][0])}` : "";
  return `${what}? ${found}${instead}`;
}

/** @param {Picture} picture */
function objectList(picture) {
  return el("ol", { class: "boxes" }, ...picture.objects.map((one, k) => {
    const told = picture.found && !one[5] ? (picture.found[k] >= threshold() ? "right" : "missed") : "";
    return boxRow(`o${k}`, one, className(one[0]) + (one[5] ? " (crowd)" : ""), told);
  }));
}

/** @param {Picture} picture */
function detectionList(picture) {
  const fates = Object.keys(page.data.results.fates);
  return el("ol", { class: "boxes" }, ...(picture.detections || []).map((one, d) => [one, d])
    .filter(([one]) => /** @type {Detection} */ (one)[5] >= threshold())
    .map(([one, d]) => boxRow(`d${d}`, one, `${className(one[0])} ${one[5].toFixed(2)}`, fates[one[6]])));
}

/** @param {string} key @param {number[]} box @param {string} name @param {string} told */
function boxRow(key, box, name, told) {
  const place = `${box[1]}, ${box[2]}, ${box[3]} × ${box[4]}`;
  return el("li", {}, toggle([swatch(box[0]), el("b", {}, name), el("span", { class: "place" }, place),
    told && el("span", { class: told === "right" ? "told good" : "told bad" }, told)], false, () => zoom(key),
  { id: `row-${key}`, pointerenter: () => point(key), focus: () => point(key) }));
}

/** @param {number} by */
function turn(by) {
  const place = page.shown.indexOf(openIndex()), next = page.shown[place + by];
  if (place < 0 || next === undefined) return;
  Object.assign(focus, { key: "", zoomed: false });
  go({ p: keyOf(page.data.pictures[next]) });
}

/** @param {HTMLElement} stage */
function listenToSwipes(stage) {
  let from = 0;
  stage.addEventListener("touchstart", event => { from = event.changedTouches[0].clientX; }, { passive: true });
  stage.addEventListener("touchend", event => {
    const way = event.changedTouches[0].clientX - from;
    if (Math.abs(way) > 45) turn(way < 0 ? 1 : -1);
  });
}

/** @param {KeyboardEvent} event */
function largeKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const press = { ArrowLeft: () => turn(-1), ArrowRight: () => turn(1),
    b: () => flip("boxes"), n: () => flip("names") }[event.key];
  if (press) { press(); event.preventDefault(); }
}
