// What training would make smaller. Chapter: Loss.

const LOSS_WEIGHTS = { bbox: 5, giou: 2 }; // the class has its term's

/** @typedef {{ce: number, bbox: number, giou: number, total: number}} LossTerms before their weights, and their sum */

/**
 * The loss of one decoder layer.
 * @param {Answers} answers
 * @param {Targets} targets
 * @param {{slot: number, object: number}[]} pairs
 * @param {ClassTerm} term
 * @returns {LossTerms}
 */
function losses(answers, targets, pairs, term) {
  const wanted = new Array(answers.boxes.length / 4).fill(-1), count = Math.max(1, targets.labels.length);
  let bbox = 0, giou = 0;
  for (const { slot, object } of pairs) {
    const box = answers.boxes.subarray(4 * slot, 4 * slot + 4);
    wanted[slot] = targets.labels[object];
    bbox += distance(box, targets.boxes[object]) / count;
    giou += (1 - generalizedIou(box, targets.boxes[object])) / count;
  }
  const ce = term.loss(answers.logits, wanted, targets.labels.length);
  return { ce, bbox, giou, total: term.weight * ce + LOSS_WEIGHTS.bbox * bbox + LOSS_WEIGHTS.giou * giou };
}
