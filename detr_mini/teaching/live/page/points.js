// The points that a Deformable DETR reads, in the place of maps: in the picture, and in words.

const CELL = 8; // side of a cell of the fine level, in the model's pixels
const LEVEL_COLOURS = ['#0072B2', '#E69F00'];
const WHOLE = 0.035; // of the picture's width: the radius of a dot that has all of the weight

/** A point that is read: where, as shares of the picture, and with which share of all that is shown.
 * @typedef {{x: number, y: number, level: number, share: number}} Dot */

/**
 * The layer of the encoder that is looked at; it has fewer than the decoder.
 * @param {App} app
 * @param {Answer} answer
 * @returns {number}
 */
function seenLayer(app, { seen }) {
  return Math.min(app.layer, (seen.points ?? seen).encoder.length - 1);
}

/**
 * What a slot or a cell reads, in the chosen head and on the chosen level.
 * @param {App} app
 * @param {Answer} answer
 * @param {Points} points
 * @param {number} row of the slot or the cell
 * @returns {Dot[]}
 */
function dotsOf({ head, level, town }, answer, { places, weights, shape: [heads, levels, count] }, row) {
  const wide = answer.width * CELL / town.width, high = answer.height * CELL / town.height; // a frame may be larger
  const dots = Array.from({ length: heads * levels * count }, (_, i) => {
    const at = row * heads * levels * count + i;
    const own = Math.floor(i / count) % levels, chosen = head < 0 || head === Math.floor(i / count / levels);
    const share = chosen && (level < 0 || level === own) ? weights[at] : 0;
    return { x: places[2 * at] * wide, y: places[2 * at + 1] * high, level: own, share };
  });
  const all = sumOf(dots);
  return dots.filter(dot => dot.share).map(dot => ({ ...dot, share: dot.share / all }));
}

/**
 * @param {Dot[]} dots
 * @param {(dot: Dot) => boolean} counts
 * @returns {number} the shares of those that count
 */
function sumOf(dots, counts = () => true) {
  return dots.filter(counts).reduce((sum, { share }) => sum + share, 0);
}

/**
 * A dot for each point, its area its weight, its color its level.
 * @param {App} app
 * @param {Answer} answer
 * @param {Points} points
 * @param {number} row
 */
function drawPoints(app, answer, points, row) {
  const pen = app.overlay, { width, height } = pen.canvas, dots = dotsOf(app, answer, points, row);
  pen.fillStyle = 'rgba(16, 18, 40, 0.4)';
  pen.fillRect(0, 0, width, height);
  const heads = app.head < 0 ? points.shape[0] : 1; // each has all of its weight to give
  for (const { x, y, level, share } of dots) {
    pen.beginPath();
    pen.arc(x * width, y * height, WHOLE * width * Math.sqrt(share * heads), 0, 7);
    Object.assign(pen, { fillStyle: LEVEL_COLOURS[level], strokeStyle: '#fff', lineWidth: 2 });
    pen.fill();
    pen.stroke();
  }
}

/**
 * Where a slot's points lie.
 * @param {App} app
 * @param {Answer} answer
 * @param {Points} points
 * @returns {string}
 */
function whereSlotReads(app, answer, points) {
  const dots = dotsOf(app, answer, points, app.slot);
  const [left, top, right, bottom] = edgesOf(boxOf(answer.layers[app.layer], app.slot));
  const inside = sumOf(dots, ({ x, y }) => x > left && x < right && y > top && y < bottom);
  return `Of the weight of ${dots.length} points ${percent(inside)} lies in this box${restOf(app, dots)}.`;
}

/**
 * @param {Box} box
 * @returns {[number, number, number, number]} left, top, right, bottom
 */
function edgesOf([cx, cy, w, h]) {
  return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2];
}

/**
 * Where a cell's points lie.
 * @param {App} app
 * @param {Answer} answer
 * @param {Points} points
 * @returns {string}
 */
function whereCellReads(app, answer, points) {
  const dots = dotsOf(app, answer, points, app.cell), { width, height } = app.town;
  const x = (app.cell % answer.width + 0.5) * CELL, y = (Math.floor(app.cell / answer.width) + 0.5) * CELL;
  const far = dots.reduce((sum, dot) => sum + dot.share * Math.hypot(dot.x * width - x, dot.y * height - y) / CELL, 0);
  return `reads ${dots.length} points, by weight ${far.toFixed(1)} cells away on average${restOf(app, dots)}.`;
}

/**
 * @param {App} app
 * @param {Dot[]} dots
 * @returns {string} how much of them lies outside of the picture, and on the coarse level where that is not chosen
 */
function restOf({ level }, dots) {
  const outside = percent(sumOf(dots, ({ x, y }) => x < 0 || x > 1 || y < 0 || y > 1));
  const coarse = percent(sumOf(dots, dot => dot.level === 1));
  return `, ${outside} outside of the picture` + (level < 0 ? `; ${coarse} is on the coarse level` : '');
}
