// Which slot answers for which object, at the least total cost. Chapter: Matching.

/** The objects of a picture: class ids, and boxes one after the other.
 * @typedef {{labels: number[], boxes: Box[]}} Targets */

const MATCHING_COSTS = { bbox: 5, giou: 2 }; // the class has its term's

/**
 * What it would cost to give each object to each slot.
 * @param {Answers} answers
 * @param {Targets} targets
 * @param {ClassTerm} term
 * @returns {number[][]} a row for each object, a column for each slot
 */
function matchingCost({ logits, boxes }, targets, term) {
  const probabilities = term.probabilities(logits), slots = boxes.length / 4;
  return targets.labels.map((label, t) => Array.from({ length: slots }, (_, n) => {
    const box = boxes.subarray(4 * n, 4 * n + 4), object = targets.boxes[t];
    return MATCHING_COSTS.bbox * distance(box, object) - MATCHING_COSTS.giou * generalizedIou(box, object)
      + term.weight * term.cost(probabilities[n * term.columns + label]);
  }));
}

/**
 * The Hungarian algorithm: one column for each row, none twice, so that the sum of their costs is least.
 *
 * Row by row, it looks for the cheapest way to seat one more row, along which others may have to move. `u` and `v` are
 * prices of rows and columns: no cost less its two prices is below 0, and those that are 0 are the ones to choose from.
 * @param {number[][]} cost with no more rows than columns
 * @returns {number[]} the column of each row
 */
function assign(cost) {
  const columns = cost[0]?.length ?? 0;
  const u = new Float64Array(cost.length), v = new Float64Array(columns + 1);
  const rowOf = new Int32Array(columns + 1).fill(-1); // the last column is none: where a new row waits
  cost.forEach((_, row) => {
    rowOf[columns] = row;
    const { from, last } = cheapestWay(cost, u, v, rowOf);
    for (let column = last; column !== columns; column = from[column]) rowOf[column] = rowOf[from[column]];
  });
  return cost.map((_, row) => rowOf.indexOf(row));
}

/**
 * The cheapest way from the row that waits to a column that is free, and the prices that follow from it.
 * @param {number[][]} cost @param {Float64Array} u @param {Float64Array} v @param {Int32Array} rowOf
 * @returns {{from: Int32Array, last: number}} the column before each column on the way, and its last
 */
function cheapestWay(cost, u, v, rowOf) {
  const columns = v.length - 1, from = new Int32Array(columns).fill(columns);
  const least = new Float64Array(columns).fill(Infinity), done = new Uint8Array(columns + 1);
  let at = columns;
  while (rowOf[at] !== -1) {
    done[at] = 1;
    let next = -1;
    for (let c = 0; c < columns; c += 1) {
      if (done[c]) continue;
      const reduced = cost[rowOf[at]][c] - u[rowOf[at]] - v[c];
      if (reduced < least[c]) { least[c] = reduced; from[c] = at; }
      if (next < 0 || least[c] < least[next]) next = c;
    }
    raisePrices(least[next], u, v, rowOf, done, least);
    at = next;
  }
  return { from, last: at };
}

/**
 * @param {number} step @param {Float64Array} u @param {Float64Array} v @param {Int32Array} rowOf
 * @param {Uint8Array} done @param {Float64Array} least
 */
function raisePrices(step, u, v, rowOf, done, least) {
  done.forEach((isDone, c) => {
    if (isDone) { u[rowOf[c]] += step; v[c] -= step; } else if (c < least.length) least[c] -= step;
  });
}

/**
 * One slot for each object. With more objects than slots, the costliest objects get none.
 * @param {number[][]} cost a row for each object, a column for each slot
 * @returns {{slot: number, object: number}[]} in the order of the objects
 */
function match(cost) {
  const slots = cost[0]?.length ?? 0;
  if (cost.length <= slots) return assign(cost).map((slot, object) => ({ slot, object }));
  const turned = Array.from({ length: slots }, (_, n) => cost.map(row => row[n]));
  const pairs = assign(turned).map((object, slot) => ({ slot, object }));
  return pairs.sort((a, b) => a.object - b.object);
}
