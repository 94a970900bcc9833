// How a slot's logits are read: as one choice of all classes, or as a yes or no to each.
// Chapters: Loss, Deformable DETR.

const EOS_COEF = 0.1; // weight of "no object" in the class loss, since most slots have none

/** `columns` logits for each slot; `weight` of the class in cost and loss. `cost` of a class, given its probability;
 * `loss` of all slots, given the class that each should say (-1: none) and how many objects there are.
 * @typedef {{columns: number, weight: number, probabilities: (logits: Float32Array) => Float32Array,
 *   cost: (p: number) => number,
 *   loss: (logits: Float32Array, wanted: number[], objects: number) => number}} ClassTerm */

/**
 * DETR's: a softmax over the classes and "no object", which is the last.
 * @param {number} classes K
 * @returns {ClassTerm}
 */
function softmaxTerm(classes) {
  const columns = classes + 1;
  return {
    columns,
    weight: 1,
    probabilities: logits => softmax(logits.slice(), columns),
    cost: p => -p,
    loss: (logits, wanted) => meanSurprise(logits, wanted.map(label => label < 0 ? classes : label), columns),
  };
}

/**
 * The mean of -log p of the class that each slot should say, the last class counted less.
 * @param {Float32Array} logits (N, columns)
 * @param {number[]} wanted (N)
 * @param {number} columns
 * @returns {number}
 */
function meanSurprise(logits, wanted, columns) {
  let sum = 0, weights = 0;
  wanted.forEach((label, slot) => {
    const row = logits.subarray(slot * columns, (slot + 1) * columns);
    const weight = label === columns - 1 ? EOS_COEF : 1;
    sum += weight * (logSumExp(row) - row[label]);
    weights += weight;
  });
  return sum / weights;
}

/**
 * @param {Float32Array} row
 * @returns {number}
 */
function logSumExp(row) {
  const highest = Math.max(...row);
  return highest + Math.log(row.reduce((sum, x) => sum + Math.exp(x - highest), 0));
}

/**
 * Deformable DETR's: each logit says yes or no to a class of its own, and what is nearly right counts little.
 * @param {number} classes K
 * @returns {ClassTerm}
 */
function focalTerm(classes) {
  return {
    columns: classes,
    weight: 2,
    probabilities: sigmoid,
    cost: p => focalYes(p, -Math.log(p + 1e-8)) - focalNo(p, -Math.log(1 - p + 1e-8)),
    loss: (logits, wanted, objects) => logits.reduce((sum, x, i) => {
      const p = 1 / (1 + Math.exp(-x)), yes = wanted[Math.floor(i / classes)] === i % classes;
      return sum + (yes ? focalYes(p, softplus(-x)) : focalNo(p, softplus(x)));
    }, 0) / Math.max(1, objects),
  };
}

/**
 * What a logit costs that should say yes.
 * @param {number} p its probability
 * @param {number} surprise -log p
 * @returns {number}
 */
function focalYes(p, surprise) {
  return 0.25 * (1 - p) ** 2 * surprise;
}

/**
 * What a logit costs that should say no.
 * @param {number} p its probability
 * @param {number} surprise -log(1 - p)
 * @returns {number}
 */
function focalNo(p, surprise) {
  return 0.75 * p ** 2 * surprise;
}

/**
 * log(1 + exp(x)), also where exp(x) is beyond all numbers.
 * @param {number} x
 * @returns {number}
 */
function softplus(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/**
 * What each slot says: its likeliest class, "no object" left out, and that class's probability.
 * @param {Float32Array} logits (N, columns)
 * @param {ClassTerm} term
 * @param {number} classes K
 * @returns {{scores: number[], labels: number[], probabilities: Float32Array}}
 */
function postprocess(logits, term, classes) {
  const probabilities = term.probabilities(logits), scores = [], labels = [];
  for (let start = 0; start < logits.length; start += term.columns) {
    const row = probabilities.subarray(start, start + classes);
    scores.push(Math.max(...row));
    labels.push(row.indexOf(Math.max(...row)));
  }
  return { scores, labels, probabilities };
}
