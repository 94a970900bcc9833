// Where each cell is, as waves. Chapter: Positional encoding.

/**
 * Sines and cosines of each cell's place in its own picture: half of the channels for y, half for x.
 * @param {{height: number, width: number}} size of the feature map
 * @param {Mask} mask
 * @param {Config} config
 * @param {number} back how far before the far edge of a cell its place is: 0, or a half for its center
 * @returns {Float32Array} (cells, d)
 */
function positionEncoding({ height, width }, mask, config, back = 0) {
  const d = config.hidden_dim, pos = new Float32Array(height * width * d);
  for (let row = 0; row < height; row += 1)
    for (let column = 0; column < width; column += 1) {
      const start = (row * width + column) * d;
      const y = share(row, height, back, r => real(mask, r * width + column));
      const x = share(column, width, back, c => real(mask, row * width + c));
      waves(y, config, pos.subarray(start, start + d / 2));
      waves(x, config, pos.subarray(start + d / 2, start + d));
    }
  return pos;
}

/**
 * How many of the cells along an axis are real, up to this one and with it, as a share of all of them.
 * @param {number} place @param {number} length @param {number} back @param {(place: number) => number} isReal
 * @returns {number} from just above 0 to 1
 */
function share(place, length, back, isReal) {
  let sofar = 0, all = 0;
  for (let i = 0; i < length; i += 1) {
    all += isReal(i);
    if (i === place) sofar = all;
  }
  return (sofar - back) / (all + 1e-6);
}

/**
 * @param {Mask} mask @param {number} cell
 * @returns {number} 1 for a real cell, 0 for padding
 */
function real(mask, cell) {
  return mask ? 1 - mask[cell] : 1;
}

/**
 * @param {number} place from 0 to 1
 * @param {Config} config
 * @param {Float32Array} out (d / 2): a sine and a cosine in turn, from the fastest wave to the slowest
 */
function waves(place, config, out) {
  const pairs = out.length / 2;
  for (let k = 0; k < pairs; k += 1) {
    const angle = place * config.position_scale / config.position_temperature ** (k / pairs);
    out[2 * k] = Math.sin(angle);
    out[2 * k + 1] = Math.cos(angle);
  }
}
