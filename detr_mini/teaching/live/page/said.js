// What the panels say of an answer, in words and numbers.

/** For each tab what is shown of an answer.
 * @type {{[tab: string]: (app: App, answer: Answer) => void}} */
const SHOW = {
  boxes: showFound, slot: showSlot, cell: showCell, matching: showMatching, broken: showBroken,
};

/**
 * @param {App} app
 * @param {Answer} answer
 */
function showFound(app, answer) {
  const last = answer.layers[answer.layers.length - 1];
  const order = last.scores.map((_, slot) => slot).filter(slot => last.scores[slot] >= app.threshold);
  order.sort((a, b) => last.scores[b] - last.scores[a]);
  app.parts.found.replaceChildren(...order.map(slot =>
    element('li', {}, `${nameOf(app, last.labels[slot])} ${last.scores[slot].toFixed(2)}, by slot ${slot}`)));
}

/**
 * @param {App} app
 * @param {Answer} answer
 */
function showSlot(app, answer) {
  showLayer(app, 'slot', answer.layers.length);
  const { scores, labels } = answer.layers[app.layer];
  const { points, cells } = answer.seen;
  app.parts.slotSaid.textContent = `Slot ${app.slot} after layer ${app.layer + 1}: ${nameOf(app, labels[app.slot])}, `
    + `score ${scores[app.slot].toFixed(2)}. `
    + (points ? whereSlotReads(app, answer, points.cells[app.layer]) : mostRead(app, answer, cells[app.layer]));
}

/**
 * @param {App} app
 * @param {Answer} answer
 * @param {Float32Array} weights (heads, N, cells)
 * @returns {string}
 */
function mostRead(app, answer, weights) {
  const [cell, share] = strongest(rowOf(weights, app.slot, app.head, answer));
  return `It reads most of ${whereIs(answer, cell)}: ${percent(share)}.`;
}

/**
 * @param {App} app
 * @param {Answer} answer
 */
function showCell(app, answer) {
  const { points, encoder } = answer.seen, layer = seenLayer(app, answer);
  showLayer(app, 'cell', (points ?? answer.seen).encoder.length);
  app.parts.cellSaid.textContent = `In layer ${layer + 1}, ${whereIs(answer, app.cell)} `
    + (points ? whereCellReads(app, answer, points.encoder[layer]) : mostReadByCell(app, answer, encoder[layer]));
}

/**
 * @param {App} app
 * @param {Answer} answer
 * @param {Float32Array} weights (heads, cells, cells)
 * @returns {string}
 */
function mostReadByCell(app, answer, weights) {
  const map = rowOf(weights, app.cell, app.head, answer), [cell, share] = strongest(map);
  const most = cell === app.cell ? 'itself' : whereIs(answer, cell);
  return `reads most of ${most}: ${percent(share)}; of itself ${percent(map[app.cell])}.`;
}

/**
 * @param {ArrayLike<number>} map
 * @returns {[number, number]} the cell that is read most, and how much of all reading that is
 */
function strongest(map) {
  let best = 0;
  for (let i = 1; i < map.length; i += 1) if (map[i] > map[best]) best = i;
  return [best, map[best]];
}

/**
 * @param {Answer} answer
 * @param {number} cell
 * @returns {string}
 */
function whereIs({ width }, cell) {
  return `the cell in row ${Math.floor(cell / width) + 1}, column ${cell % width + 1}`;
}

/**
 * @param {number} share
 * @returns {string}
 */
function percent(share) {
  return `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

/**
 * The costs of the slots that are among the three cheapest of an object, and the terms of the loss.
 * @param {App} app
 * @param {Answer} answer
 */
function showMatching(app, answer) {
  showLayer(app, 'matching', answer.layers.length);
  const { cost, pairs, losses: terms, labels } = answer.layers[app.layer];
  const slots = [...new Set([...pairs.map(pair => pair.slot), ...cost.flatMap(cheapest)])].sort((a, b) => a - b);
  const head = app.objects.map(({ label }, i) => element('th', { scope: 'col' }, `${i + 1} ${nameOf(app, label)}`));
  const rows = slots.map(slot => element('tr', {},
    element('th', { scope: 'row' }, `slot ${slot}: ${nameOf(app, labels[slot])}`),
    ...cost.map((row, object) => costCell(row[slot], slot === pairs.find(pair => pair.object === object)?.slot))));
  const table = element('table', {}, element('thead', {}, element('tr', {}, element('td'), ...head)),
    element('tbody', {}, ...rows));
  app.parts.costs.replaceChildren(cost.length ? table : 'No object, no cost: no slot should give a class.');
  app.parts.terms.replaceChildren(...termRows(terms, answer.classWeight));
}

/**
 * The three slots that would cost an object least.
 * @param {number[]} row
 * @returns {number[]}
 */
function cheapest(row) {
  return row.map((_, slot) => slot).sort((a, b) => row[a] - row[b]).slice(0, 3);
}

/**
 * @param {number} cost
 * @param {boolean} paired
 * @returns {HTMLElement}
 */
function costCell(cost, paired) {
  return element('td', { class: paired ? 'paired' : '' }, cost.toFixed(2), paired ? ' ✓' : '');
}

/**
 * @param {LossTerms} terms
 * @param {number} weight of the class
 * @returns {HTMLElement[]}
 */
function termRows({ ce, bbox, giou, total }, weight) {
  const row = (/** @type {string} */ name, /** @type {string} */ sum) =>
    element('tr', {}, element('th', { scope: 'row' }, name), element('td', {}, sum));
  return [
    row('class', `${weight} × ${ce.toFixed(3)}`), row('L1', `5 × ${bbox.toFixed(3)}`),
    row('GIoU', `2 × ${giou.toFixed(3)}`), row('sum', total.toFixed(3)),
  ];
}

/**
 * @param {App} app
 * @param {Answer} answer
 */
function showBroken(app, answer) {
  const last = answer.layers[answer.layers.length - 1], boxes = last.scores.filter(score => score >= app.threshold);
  app.parts.brokenSaid.textContent = `${boxes.length} boxes above the threshold for ${app.objects.length} objects; `
    + `the loss of the last layer is ${last.losses.total.toFixed(2)}.`;
}
