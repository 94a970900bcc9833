// Boxes, written as center and size: (cx, cy, w, h). Chapter: Loss.

/** @typedef {number[] | Float32Array} Box cx, cy, w and h as shares of the picture */

/**
 * Left, top, right and bottom.
 * @param {Box} box
 * @returns {[number, number, number, number]}
 */
function corners([cx, cy, w, h]) {
  return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2];
}

/**
 * The sum of the distances of center and size.
 * @param {Box} a
 * @param {Box} b
 * @returns {number}
 */
function distance(a, b) {
  return Math.abs(a[0] - b[0]) + Math.abs(a[1] - b[1]) + Math.abs(a[2] - b[2]) + Math.abs(a[3] - b[3]);
}

/**
 * How much two boxes share, less the empty share of the smallest box that holds both: from -1 to 1.
 * @param {Box} a
 * @param {Box} b
 * @returns {number}
 */
function generalizedIou(a, b) {
  const [left1, top1, right1, bottom1] = corners(a), [left2, top2, right2, bottom2] = corners(b);
  const width = Math.min(right1, right2) - Math.max(left1, left2);
  const height = Math.min(bottom1, bottom2) - Math.max(top1, top2);
  const shared = Math.max(0, width) * Math.max(0, height);
  const union = a[2] * a[3] + b[2] * b[3] - shared;
  const hullWidth = Math.max(right1, right2) - Math.min(left1, left2);
  const hull = hullWidth * (Math.max(bottom1, bottom2) - Math.min(top1, top2));
  return (union && shared / union) - (hull && (hull - union) / hull);
}
