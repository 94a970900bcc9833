/** A mark on a picture: a box with its words, and how it is drawn.
 * @typedef {{box: number[], colour: string, text: string, kind: string, key: string}} Mark */

const GOOD = "#009e73", BAD = "#d55e00", FALSE = "#e69f00";

/** What is drawn on a picture: the objects, in the color of their class, or with a model in that of the result.
 * Detections that are right are left out of a small drawing, where they would hide the object.
 * @param {Picture} picture @param {boolean} small @returns {Mark[]} */
function marksOf(picture, small) {
  const faulty = new Set(picture.findings.flatMap(finding => finding[1]));
  const objects = picture.objects.map((one, k) => objectMark(picture, one, k, faulty.has(k)));
  const detections = (picture.detections || []).map((one, d) => small && one[6] === RIGHT ? null :
    detectionMark(picture, one, d));
  return [...objects, ...detections.filter(one => one !== null)];
}

/** @param {Picture} picture @param {Box} one @param {number} k @param {boolean} faulty @returns {Mark} */
function objectMark(picture, one, k, faulty) {
  const missed = picture.found && !one[5] && picture.found[k] < threshold();
  const colour = picture.found ? (missed ? BAD : GOOD) : colourOf(one[0]);
  const doubted = (picture.doubts || []).some(doubt => doubt[3] === k);
  const text = className(one[0]) + (one[5] ? " (crowd)" : "") + (missed ? ", missed" : "");
  return { box: one.slice(1, 5), colour, text, key: `o${k}`,
    kind: `object${faulty || doubted ? " faulty" : ""}${one[5] ? " crowd" : ""}` };
}

/** @param {Picture} picture @param {Detection} one @param {number} d @returns {Mark | null} */
function detectionMark(picture, one, d) {
  const doubt = (picture.doubts || []).find(some => some[2] === d);
  if (one[5] < threshold() && !doubt) return null;
  const colour = one[6] === RIGHT || one[6] === CROWD ? GOOD : FALSE;
  return { box: one.slice(1, 5), colour, text: `${className(one[0])} ${one[5].toFixed(2)}`, key: `d${d}`,
    kind: doubt ? "detection doubted" : "detection" };
}

/** A picture with its marks; `pixel` is how much of the picture a pixel of the screen shows.
 * @param {number} index @param {number} pixel @param {string} said
 * @param {number[] | null} [window] the part that a large drawing shows */
function drawing(index, pixel, said, window = null) {
  const picture = page.data.pictures[index], { w, h } = picture, area = window || [0, 0, w, h];
  const parts = [svg("rect", { class: "ground", width: w, height: h })];
  if (page.thumbnails[index]) parts.push(svg("image", { href: page.thumbnails[index], width: w, height: h,
    preserveAspectRatio: "none" }));
  const marks = page.state.boxes ? marksOf(picture, !window) : [];
  for (const mark of marks) parts.push(...boxOf(mark));
  if (page.state.names) for (const mark of marks) parts.push(nameOf(mark, area, pixel));
  return svg("svg", { viewBox: area.join(" "), role: "img", "aria-label": said, class: "drawing" }, ...parts);
}

/** A line, on a wider light one that shows it on any ground. @param {Mark} mark */
function boxOf(mark) {
  const [x, y, width, height] = mark.box, place = { x, y, width: Math.max(0, width), height: Math.max(0, height) };
  return [svg("rect", { ...place, class: "rim" }),
    svg("rect", { ...place, class: `box ${mark.kind}`, stroke: mark.colour, "data-key": mark.key })];
}

/** @param {Mark} mark @param {number[]} area @param {number} pixel */
function nameOf(mark, area, pixel) {
  const size = 11 * pixel, width = (mark.text.length * 0.56 + 0.8) * size, below = mark.kind.startsWith("detection");
  const x = Math.min(Math.max(mark.box[0], area[0]), Math.max(area[0], area[0] + area[2] - width));
  const edge = below ? mark.box[1] + mark.box[3] : mark.box[1] - 1.35 * size;
  const y = Math.min(Math.max(edge, area[1]), area[1] + area[3] - 1.35 * size);
  return svg("g", { class: "name" }, svg("rect", { x, y, width, height: 1.35 * size, fill: "#16191d" }),
    svg("rect", { x, y, width: 0.28 * size, height: 1.35 * size, fill: mark.colour }),
    svg("text", { x: x + 0.5 * size, y: y + size, "font-size": size }, mark.text));
}
