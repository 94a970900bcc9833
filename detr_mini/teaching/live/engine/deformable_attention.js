// A query says where it looks, and reads a few points there, on every level. Chapter: Deformable attention.

/** A feature map among several: where its first cell stands in the row of all cells, and which share of its columns and
 * rows is picture.
 * @typedef {{height: number, width: number, first: number, ratio: [number, number]}} Level */

/** Where each query reads, x and y as shares of the frame, and with which weight: places (Q, heads, levels, points, 2),
 * weights (Q, heads, levels, points), `shape` the last three of these.
 * @typedef {{places: Float32Array, weights: Float32Array, shape: [number, number, number]}} Points */

/**
 * Each query reads some points around its reference. There are no keys: points and weights are linear functions of it.
 * @param {Float32Array} query (Q, d)
 * @param {Float32Array} reference (Q, 2) points, or (Q, 4) boxes: shares of the picture
 * @param {Float32Array} memory (cells, d)
 * @param {Level[]} levels
 * @param {Mask} padding (cells): what lies there is read as 0
 * @param {Module} module
 * @param {number} heads
 * @returns {{out: Float32Array, points: Points}} (Q, d)
 */
function deformableAttention(query, reference, memory, levels, padding, module, heads) {
  const value = linear(memory, module.value_proj);
  zeroPadding(value, padding);
  const points = sampling(query, reference, levels, module, heads);
  return { out: linear(readPoints(value, points, levels, query.length, heads), module.output_proj), points };
}

/**
 * Steps from a point are in cells of their level. Those from a box are in halves of its sides, divided by the points.
 * @param {Float32Array} query @param {Float32Array} reference @param {Level[]} levels
 * @param {Module} module @param {number} heads
 * @returns {Points}
 */
function sampling(query, reference, levels, module, heads) {
  const weights = linear(query, module.attention_weights), places = linear(query, module.sampling_offsets);
  const ofQuery = module.attention_weights.bias.length, count = ofQuery / heads / levels.length;
  softmax(weights, ofQuery / heads); // all levels share a sum of 1
  const known = reference.length / (weights.length / ofQuery);
  for (let i = 0; i < places.length; i += 1) {
    const point = i >> 1, axis = i & 1, { width, height, ratio } = levels[Math.floor(point / count) % levels.length];
    const from = Math.floor(point / ofQuery) * known + axis;
    const step = known === 2 ? 1 / (axis ? height : width) : reference[from + 2] * ratio[axis] / 2 / count;
    places[i] = reference[from] * ratio[axis] + places[i] * step;
  }
  return { places, weights, shape: [heads, levels.length, count] };
}

/**
 * Add up what is read at all points, each times its weight.
 * @param {Float32Array} value (cells, d)
 * @param {Points} points
 * @param {Level[]} levels
 * @param {number} size Q d, of the result
 * @param {number} heads
 * @returns {Float32Array} (Q, d)
 */
function readPoints(value, { places, weights }, levels, size, heads) {
  const cells = levels.reduce((sum, { height, width }) => sum + height * width, 0), d = value.length / cells;
  const out = new Float32Array(size), narrow = d / heads, ofHead = weights.length / (size / narrow);
  for (let i = 0; i < weights.length; i += 1) {
    const row = Math.floor(i / ofHead), to = row * narrow; // the heads of a query lie one after the other, as in `out`
    const level = levels[Math.floor(i % ofHead / (ofHead / levels.length))];
    const head = value.subarray(row % heads * narrow);
    readPoint(head, d, level, places[2 * i], places[2 * i + 1], weights[i], out.subarray(to, to + narrow));
  }
  return out;
}

/**
 * Read between the four cells around a point, each the more the nearer it is; outside of the map all is 0.
 * @param {Float32Array} value from the first channel of the head on
 * @param {number} d
 * @param {Level} level
 * @param {number} x @param {number} y shares of the frame @param {number} weight
 * @param {Float32Array} out (narrow): what is read is added to it
 */
function readPoint(value, d, { height, width, first }, x, y, weight, out) {
  const column = x * width - 0.5, row = y * height - 0.5; // the first cell's center is half a cell inside
  const left = Math.floor(column), top = Math.floor(row);
  for (let r = Math.max(top, 0); r <= Math.min(top + 1, height - 1); r += 1)
    for (let c = Math.max(left, 0); c <= Math.min(left + 1, width - 1); c += 1) {
      const share = weight * (1 - Math.abs(row - r)) * (1 - Math.abs(column - c));
      const from = (first + r * width + c) * d;
      for (let i = 0; i < out.length; i += 1) out[i] += share * value[from + i];
    }
}
