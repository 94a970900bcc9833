// Numbers in rows: what every part of the model is made of. A matrix is a Float32Array, one row after the other.

/**
 * The products of every row of `a` with every row of `b`: out[r, c] = sum of a[r, i] b[c, i], plus bias[c].
 * This is where all of the time goes, so it is done in tiles of 2 x 4, eight sums at once.
 * @param {Float32Array} a (rows, inner)
 * @param {Float32Array} b (columns, inner)
 * @param {number} inner
 * @param {Float32Array | null} bias (columns)
 * @returns {Float32Array} (rows, columns)
 */
function multiply(a, b, inner, bias = null) {
  const rows = a.length / inner, columns = b.length / inner;
  const out = new Float32Array(rows * columns);
  const wholeRows = rows - rows % 2, wholeColumns = columns - columns % 4;
  for (let r = 0; r < wholeRows; r += 2) {
    for (let c = 0; c < wholeColumns; c += 4) multiplyTile(a, b, inner, r, c, out, columns);
    for (let c = wholeColumns; c < columns; c += 1) multiplyOne(a, b, inner, r, c, out, columns);
    for (let c = wholeColumns; c < columns; c += 1) multiplyOne(a, b, inner, r + 1, c, out, columns);
  }
  for (let r = wholeRows; r < rows; r += 1)
    for (let c = 0; c < columns; c += 1) multiplyOne(a, b, inner, r, c, out, columns);
  if (bias) addRow(out, bias);
  return out;
}

/**
 * Two rows of `a`, from row `r` on, with four of `b`, from row `c` on.
 * @param {Float32Array} a @param {Float32Array} b @param {number} inner @param {number} r @param {number} c
 * @param {Float32Array} out @param {number} columns
 */
function multiplyTile(a, b, inner, r, c, out, columns) {
  const a0 = r * inner, a1 = a0 + inner;
  const b0 = c * inner, b1 = b0 + inner, b2 = b1 + inner, b3 = b2 + inner;
  let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
  for (let i = 0; i < inner; i += 1) {
    const x0 = a[a0 + i], x1 = a[a1 + i];
    const y0 = b[b0 + i], y1 = b[b1 + i], y2 = b[b2 + i], y3 = b[b3 + i];
    s00 += x0 * y0; s01 += x0 * y1; s02 += x0 * y2; s03 += x0 * y3;
    s10 += x1 * y0; s11 += x1 * y1; s12 += x1 * y2; s13 += x1 * y3;
  }
  const o0 = r * columns + c, o1 = o0 + columns;
  out[o0] = s00; out[o0 + 1] = s01; out[o0 + 2] = s02; out[o0 + 3] = s03;
  out[o1] = s10; out[o1 + 1] = s11; out[o1 + 2] = s12; out[o1 + 3] = s13;
}

/**
 * One row of `a` with one of `b`: what the tiles leave over at the edges.
 * @param {Float32Array} a @param {Float32Array} b @param {number} inner @param {number} r @param {number} c
 * @param {Float32Array} out @param {number} columns
 */
function multiplyOne(a, b, inner, r, c, out, columns) {
  let sum = 0;
  for (let i = 0; i < inner; i += 1) sum += a[r * inner + i] * b[c * inner + i];
  out[r * columns + c] = sum;
}

/**
 * A linear layer: x W^T + b, every row by itself.
 * @param {Float32Array} x (rows, inner)
 * @param {{weight: Float32Array, bias: Float32Array}} layer weight (columns, inner), bias (columns)
 * @returns {Float32Array} (rows, columns)
 */
function linear(x, layer) {
  return multiply(x, layer.weight, layer.weight.length / layer.bias.length, layer.bias);
}

/**
 * Add one row to all rows, in place.
 * @param {Float32Array} x (rows, columns)
 * @param {Float32Array} row (columns)
 */
function addRow(x, row) {
  for (let start = 0; start < x.length; start += row.length)
    for (let c = 0; c < row.length; c += 1) x[start + c] += row[c];
}

/**
 * x + y, element by element.
 * @param {Float32Array} x
 * @param {Float32Array} y
 * @returns {Float32Array}
 */
function add(x, y) {
  const out = new Float32Array(x.length);
  for (let i = 0; i < x.length; i += 1) out[i] = x[i] + y[i];
  return out;
}

/**
 * Everything below 0 becomes 0, in place.
 * @param {Float32Array} x
 * @returns {Float32Array}
 */
function relu(x) {
  for (let i = 0; i < x.length; i += 1) if (x[i] < 0) x[i] = 0;
  return x;
}

/**
 * Any number to one between 0 and 1.
 * @param {Float32Array} x
 * @returns {Float32Array}
 */
function sigmoid(x) {
  return x.map(value => 1 / (1 + Math.exp(-value)));
}

/**
 * exp(x) by its sum, for every row, in place. A row of nothing but -Infinity becomes all 0: nothing is read.
 * @param {Float32Array} x (rows, columns)
 * @param {number} columns
 * @returns {Float32Array}
 */
function softmax(x, columns) {
  for (let start = 0; start < x.length; start += columns) {
    const row = x.subarray(start, start + columns);
    let highest = -Infinity, sum = 0;
    for (let c = 0; c < columns; c += 1) if (row[c] > highest) highest = row[c];
    for (let c = 0; c < columns; c += 1) {
      row[c] = row[c] === -Infinity ? 0 : Math.exp(row[c] - highest);
      sum += row[c];
    }
    for (let c = 0; c < columns; c += 1) row[c] = sum && row[c] / sum;
  }
  return x;
}

/**
 * Layer norm: every row gets mean 0 and variance 1, then a scale and a shift for each column.
 * @param {Float32Array} x (rows, columns)
 * @param {{weight: Float32Array, bias: Float32Array}} norm (columns) each
 * @returns {Float32Array} (rows, columns)
 */
function layerNorm(x, { weight, bias }) {
  const columns = weight.length, out = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += columns) {
    let mean = 0, variance = 0;
    for (let c = 0; c < columns; c += 1) mean += x[start + c] / columns;
    for (let c = 0; c < columns; c += 1) variance += (x[start + c] - mean) ** 2 / columns;
    const scale = 1 / Math.sqrt(variance + 1e-5);
    for (let c = 0; c < columns; c += 1) out[start + c] = (x[start + c] - mean) * scale * weight[c] + bias[c];
  }
  return out;
}
