// What is drawn over the scene: boxes, maps of attention, the pairs of the matching.

const CLASS_COLOURS = [
  '#b3261e', '#0b5c94', '#a35200', '#7a4fa3', '#22262b', '#7d4e24', '#b0307a', '#c2410c', '#00664a', '#5b5f97',
];

/**
 * @param {App} app
 * @param {number} label
 * @returns {string}
 */
function colourOf(app, label) {
  const index = Object.keys(app.names).indexOf(String(label));
  return CLASS_COLOURS[Math.max(0, index) % CLASS_COLOURS.length];
}

/**
 * @param {App} app
 * @param {number} label
 * @returns {string}
 */
function nameOf(app, label) {
  return app.names[label] ?? 'class ' + label;
}

/**
 * A slot's box after a layer, in pixels of the canvas: left, top, width, height.
 * @param {App} app
 * @param {Box} box
 * @returns {[number, number, number, number]}
 */
function placed(app, box) {
  const [left, top] = [box[0] - box[2] / 2, box[1] - box[3] / 2], { width, height, scale } = app.town;
  return [left * width * scale, top * height * scale, box[2] * width * scale, box[3] * height * scale];
}

/**
 * @param {Layer} layer
 * @param {number} slot
 * @returns {Float32Array}
 */
function boxOf(layer, slot) {
  return layer.boxes.subarray(4 * slot, 4 * slot + 4);
}

/**
 * Draw over the scene what the open tab is about.
 * @param {App} app
 */
function drawOverlay(app) {
  const { overlay: pen, answer } = app;
  pen.clearRect(0, 0, pen.canvas.width, pen.canvas.height);
  if (answer) {
    if (app.tab === 'slot') drawSlot(app, answer);
    else if (app.tab === 'cell') drawCell(app, answer);
    else if (app.tab === 'matching') drawMatching(app, answer);
    else drawBoxes(app, answer);
  }
  const thing = app.scene.things[app.thing];
  if (thing && app.tab !== 'cell') drawGrip(app, thing);
}

/**
 * Boxes of the slots that are sure enough, with class and score.
 * @param {App} app
 * @param {Answer} answer
 */
function drawBoxes(app, answer) {
  const last = answer.layers[answer.layers.length - 1];
  last.scores.forEach((score, slot) => {
    if (score < app.threshold) return;
    const words = `${nameOf(app, last.labels[slot])} ${score.toFixed(2)}`;
    drawBox(app, boxOf(last, slot), colourOf(app, last.labels[slot]), slot === app.slot ? 6 : 4, words);
  });
}

/**
 * @param {App} app
 * @param {Box} box
 * @param {string} colour
 * @param {number} width of the line
 * @param {string} words
 * @param {number[]} dashes
 */
function drawBox(app, box, colour, width, words = '', dashes = []) {
  const pen = app.overlay, [left, top, w, h] = placed(app, box);
  pen.setLineDash(dashes);
  Object.assign(pen, { lineWidth: width + 3, strokeStyle: 'rgba(255,255,255,0.85)' });
  pen.strokeRect(left, top, w, h);
  Object.assign(pen, { lineWidth: width, strokeStyle: colour });
  pen.strokeRect(left, top, w, h);
  pen.setLineDash([]);
  if (words) drawWords(pen, words, left, top, colour);
}

/**
 * @param {CanvasRenderingContext2D} pen @param {string} words
 * @param {number} left @param {number} top @param {string} colour
 */
function drawWords(pen, words, left, top, colour) {
  pen.font = '600 22px "Source Sans 3", sans-serif';
  const wide = pen.measureText(words).width + 12, x = Math.min(Math.max(left - 2, 0), pen.canvas.width - wide);
  const y = top < 32 ? Math.max(0, top) : top - 30;
  pen.fillStyle = colour;
  pen.fillRect(x, y, wide, 29);
  pen.fillStyle = '#fff';
  pen.fillText(words, x + 6, y + 22);
}

/**
 * The picked slot: what it reads in this layer, its box after each layer, where its boxes fell on 500 pictures.
 * @param {App} app
 * @param {Answer} answer
 */
function drawSlot(app, answer) {
  const { points, cells } = answer.seen;
  if (points) drawPoints(app, answer, points.cells[app.layer], app.slot);
  else drawMap(app, answer, rowOf(cells[app.layer], app.slot, app.head, answer), 0.75);
  if (app.parts.map.checked && app.slots[app.model]) drawSlotMap(app, app.slots[app.model]);
  answer.layers.forEach((layer, number) => {
    if (number < app.layer) drawEarlier(app, boxOf(layer, app.slot), (number + 1) / app.layer);
  });
  const now = answer.layers[app.layer], label = now.labels[app.slot];
  const words = `slot ${app.slot}: ${nameOf(app, label)} ${now.scores[app.slot].toFixed(2)}`;
  drawBox(app, boxOf(now, app.slot), colourOf(app, label), 5, words);
}

/**
 * The box of an earlier layer, the fainter the earlier.
 * @param {App} app
 * @param {Box} box
 * @param {number} share
 */
function drawEarlier(app, box, share) {
  const pen = app.overlay;
  pen.setLineDash([7, 5]);
  Object.assign(pen, { lineWidth: 2, strokeStyle: `rgba(255, 255, 255, ${0.35 + 0.5 * share})` });
  pen.strokeRect(...placed(app, box));
  pen.setLineDash([]);
}

/**
 * One row of attention: what one reads of all cells, of one head or of their mean.
 * @param {Float32Array} weights (heads, rows, cells)
 * @param {number} row
 * @param {number} head -1: all
 * @param {Answer} answer
 * @returns {Float32Array} (cells)
 */
function rowOf(weights, row, head, { height, width }) {
  const cells = height * width, heads = 4, rows = weights.length / heads / cells, out = new Float32Array(cells);
  const chosen = head < 0 ? [...Array(heads).keys()] : [head];
  for (const one of chosen)
    for (let i = 0; i < cells; i += 1) out[i] += weights[(one * rows + row) * cells + i] / chosen.length;
  return out;
}

/**
 * A map over the cells: where little is read, the picture is dimmed.
 * @param {App} app
 * @param {Answer} answer
 * @param {Float32Array} map
 * @param {number} dim at most
 */
function drawMap(app, { width, height }, map, dim) {
  const pen = app.overlay, most = Math.max(...map), side = CELL * app.town.scale;
  for (let i = 0; i < width * height; i += 1) {
    const share = Math.sqrt(map[i] / most);
    pen.fillStyle = `rgba(16, 18, 40, ${(dim * (1 - share)).toFixed(3)})`;
    pen.fillRect((i % width) * side, Math.floor(i / width) * side, side, side);
    if (share > 0.5) {
      pen.fillStyle = `rgba(255, 196, 0, ${(0.5 * (share - 0.5)).toFixed(3)})`;
      pen.fillRect((i % width) * side, Math.floor(i / width) * side, side, side);
    }
  }
}

/**
 * @param {App} app
 * @param {SlotMap} map
 */
function drawSlotMap(app, { pictures, centers }) {
  const pen = app.overlay, { width, height } = pen.canvas, bytes = atob(centers);
  pen.fillStyle = 'rgba(255, 255, 255, 0.8)';
  for (let i = 0; i < pictures; i += 1) {
    const at = 2 * (app.slot * pictures + i), [x, y] = [bytes.charCodeAt(at), bytes.charCodeAt(at + 1)];
    pen.fillRect(x / 255 * width - 2.5, y / 255 * height - 2.5, 5, 5);
  }
}

/**
 * What the cell that is pointed at reads in a layer of the encoder.
 * @param {App} app
 * @param {Answer} answer
 */
function drawCell(app, answer) {
  const { points, encoder } = answer.seen, side = CELL * app.town.scale, layer = seenLayer(app, answer);
  if (points) drawPoints(app, answer, points.encoder[layer], app.cell);
  else drawMap(app, answer, rowOf(encoder[layer], app.cell, app.head, answer), 0.75);
  const left = (app.cell % answer.width) * side, top = Math.floor(app.cell / answer.width) * side;
  Object.assign(app.overlay, { lineWidth: 9, strokeStyle: '#fff' });
  app.overlay.strokeRect(left, top, side, side);
  Object.assign(app.overlay, { lineWidth: 5, strokeStyle: '#d55e00' });
  app.overlay.strokeRect(left, top, side, side);
}

/**
 * Each object that there is, its slot's box, and a line between their centers.
 * @param {App} app
 * @param {Answer} answer
 */
function drawMatching(app, answer) {
  const layer = answer.layers[app.layer], pen = app.overlay;
  for (const { slot, object } of layer.pairs) {
    const target = app.objects[object];
    if (!target) continue; // the answer is still the one to the scene before
    drawBox(app, target.box, '#22262b', 3, '', [9, 7]);
    const words = `slot ${slot} for the ${nameOf(app, target.label)}`;
    drawBox(app, boxOf(layer, slot), colourOf(app, target.label), 4, words);
    const [left, top, w, h] = placed(app, target.box), [l, t, v, u] = placed(app, boxOf(layer, slot));
    Object.assign(pen, { lineWidth: 4, strokeStyle: '#fff' });
    pen.beginPath();
    pen.moveTo(left + w / 2, top + h / 2);
    pen.lineTo(l + v / 2, t + u / 2);
    pen.stroke();
  }
}

/**
 * Corners around the chosen thing, and a dot to pull at.
 * @param {App} app
 * @param {Thing} thing
 */
function drawGrip(app, thing) {
  const pen = app.overlay, { scale } = app.town, far = 9;
  const [left, top, right, bottom] = extent(thing, app.town).map(one => one * scale);
  pen.beginPath();
  for (const [x, y, dx, dy] of [[left, top, 1, 1], [left, bottom, 1, -1], [right, bottom, -1, -1]]) {
    pen.moveTo(x - 6 * dx + far * 2 * dx, y - 6 * dy);
    pen.lineTo(x - 6 * dx, y - 6 * dy);
    pen.lineTo(x - 6 * dx, y - 6 * dy + far * 2 * dy);
  }
  for (const [lineWidth, strokeStyle] of [[7, '#fff'], [4, '#0b5c94']]) {
    Object.assign(pen, { lineWidth, strokeStyle });
    pen.stroke();
  }
  pen.beginPath();
  pen.arc(right + 5, top - 5, 11, 0, 7);
  Object.assign(pen, { fillStyle: '#0b5c94', strokeStyle: '#fff', lineWidth: 4 });
  pen.fill();
  pen.stroke();
}
