// What training would make smaller. Chapter: Loss.

const LOSS_WEIGHTS = { ce: 1, bbox: 5, giou: 2 };
const EOS_COEF = 0.1; // weight of "no object" in the class loss, since most slots have none

/** @typedef {{ce: number, bbox: number, giou: number, total: number}} LossTerms before their weights, and their sum */

/**
 * The loss of one decoder layer.
 * @param {Answers} answers
 * @param {Targets} targets
 * @param {{slot: number, object: number}[]} pairs
 * @param {number} classes K
 * @returns {LossTerms}
 */
function losses(answers, targets, pairs, classes) {
  const ce = classLoss(answers.logits, targets, pairs, classes), count = Math.max(1, targets.labels.length);
  let bbox = 0, giou = 0;
  for (const { slot, object } of pairs) {
    const box = answers.boxes.subarray(4 * slot, 4 * slot + 4);
    bbox += distance(box, targets.boxes[object]) / count;
    giou += (1 - generalizedIou(box, targets.boxes[object])) / count;
  }
  const total = LOSS_WEIGHTS.ce * ce + LOSS_WEIGHTS.bbox * bbox + LOSS_WEIGHTS.giou * giou;
  return { ce, bbox, giou, total };
}

/**
 * The mean of -log p: of its object's class for a slot that has one, of "no object" for all others.
 * @param {Float32Array} logits (N, K + 1)
 * @param {Targets} targets
 * @param {{slot: number, object: number}[]} pairs
 * @param {number} classes K
 * @returns {number}
 */
function classLoss(logits, targets, pairs, classes) {
  const wanted = new Array(logits.length / (classes + 1)).fill(classes);
  for (const { slot, object } of pairs) wanted[slot] = targets.labels[object];
  let sum = 0, weights = 0;
  wanted.forEach((label, slot) => {
    const row = logits.subarray(slot * (classes + 1), (slot + 1) * (classes + 1));
    const weight = label === classes ? EOS_COEF : 1;
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
