// Queries are compared with keys, and the weights that come out mix the values. Chapter: Attention.

/** What was read, and how much each query read of each key: (heads, queries, keys), rows sum to 1.
 * @typedef {{out: Float32Array, weights: Float32Array}} Read */

/**
 * softmax(Q K^T / sqrt(d / heads)) V, in several heads.
 * @param {Float32Array} query (Lq, d)
 * @param {Float32Array} key (Lk, d)
 * @param {Float32Array} value (Lk, d)
 * @param {Mask} padding (Lk): the keys that no query may read
 * @param {Module} module in_proj_weight (3d, d): for queries, keys and values, one below the other
 * @param {number} heads
 * @returns {Read}
 */
function attention(query, key, value, padding, module, heads) {
  const d = module.out_proj.bias.length, Lq = query.length / d, Lk = key.length / d, narrow = d / heads;
  const [q, k, v] = [query, key, value].map((x, i) => linear(x, {
    weight: module.in_proj_weight.subarray(i * d * d, (i + 1) * d * d),
    bias: module.in_proj_bias.subarray(i * d, (i + 1) * d),
  }));
  scale(q, 1 / Math.sqrt(narrow)); // sooner than the scores: queries are fewer
  const weights = new Float32Array(heads * Lq * Lk), read = new Float32Array(Lq * d);
  for (let head = 0; head < heads; head += 1) {
    const scores = multiply(columnsOf(q, d, head, narrow), columnsOf(k, d, head, narrow), narrow);
    hide(scores, padding);
    weights.set(softmax(scores, Lk), head * Lq * Lk);
    putColumns(multiply(scores, transposed(columnsOf(v, d, head, narrow), narrow), Lk), read, d, head, narrow);
  }
  return { out: linear(read, module.out_proj), weights };
}

/**
 * The columns of one head.
 * @param {Float32Array} x (L, d) @param {number} d @param {number} head @param {number} narrow
 * @returns {Float32Array} (L, narrow)
 */
function columnsOf(x, d, head, narrow) {
  const out = new Float32Array(x.length / d * narrow);
  for (let from = head * narrow, to = 0; to < out.length; from += d, to += narrow)
    out.set(x.subarray(from, from + narrow), to);
  return out;
}

/**
 * @param {Float32Array} x (L, narrow) @param {Float32Array} out (L, d) @param {number} d
 * @param {number} head @param {number} narrow
 */
function putColumns(x, out, d, head, narrow) {
  for (let from = 0, to = head * narrow; from < x.length; from += narrow, to += d)
    out.set(x.subarray(from, from + narrow), to);
}

/**
 * @param {Float32Array} x (rows, columns)
 * @param {number} columns
 * @returns {Float32Array} (columns, rows)
 */
function transposed(x, columns) {
  const rows = x.length / columns, out = new Float32Array(x.length);
  for (let r = 0; r < rows; r += 1)
    for (let c = 0; c < columns; c += 1) out[c * rows + r] = x[r * columns + c];
  return out;
}

/**
 * Multiply all numbers by one, in place.
 * @param {Float32Array} x
 * @param {number} factor
 */
function scale(x, factor) {
  for (let i = 0; i < x.length; i += 1) x[i] *= factor;
}

/**
 * Scores of padded keys become -Infinity, so that softmax gives them nothing.
 * @param {Float32Array} scores (Lq, Lk)
 * @param {Mask} padding (Lk)
 */
function hide(scores, padding) {
  if (!padding) return;
  for (let i = 0; i < scores.length; i += 1) if (padding[i % padding.length]) scores[i] = -Infinity;
}
