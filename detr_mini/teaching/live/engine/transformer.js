// Cells read cells; then slots read slots, and cells. Chapters: Encoder, Decoder.

/** What the reader may break. `order` says which query vector each slot gets.
 * @typedef {{noPositions: boolean, noQueries: boolean, noSelfAttention: boolean, forgetMask: boolean,
 *   order: number[] | null}} Switches */

/** What can be seen on the way: encoder[layer] (heads, cells, cells); slots[layer] (heads, N, N) and
 * cells[layer] (heads, N, cells) of the decoder. A Deformable DETR has points in the place of the first and the last.
 * @typedef {{encoder: Float32Array[], slots: Float32Array[], cells: Float32Array[],
 *   points?: {encoder: Points[], cells: Points[]}}} Maps */

/**
 * @returns {Maps}
 */
function nothingSeen() {
  return { encoder: [], slots: [], cells: [] };
}

/**
 * @param {Float32Array} x (cells, d): the feature map
 * @param {Float32Array} pos (cells, d)
 * @param {Mask} padding (cells)
 * @param {Module} encoder
 * @param {number} heads
 * @param {Maps} seen
 * @returns {Float32Array} (cells, d): the memory
 */
function encode(x, pos, padding, encoder, heads, seen) {
  for (const layer of encoder.layers) x = encoderLayer(x, pos, padding, layer, heads, seen);
  return layerNorm(x, encoder.norm);
}

/**
 * Every cell reads every cell; then the feed-forward block. Positions go to queries and keys, never to values.
 * @param {Float32Array} x @param {Float32Array} pos @param {Mask} padding
 * @param {Module} layer @param {number} heads @param {Maps} seen
 * @returns {Float32Array} (cells, d)
 */
function encoderLayer(x, pos, padding, layer, heads, seen) {
  const y = layerNorm(x, layer.norm1), placed = add(y, pos);
  const read = attention(placed, placed, y, padding, layer.self_attn, heads);
  seen.encoder.push(read.weights);
  x = add(x, read.out);
  return add(x, feedForward(layerNorm(x, layer.norm2), layer));
}

/**
 * @param {Float32Array} queryPos (N, d): the object queries
 * @param {Float32Array} memory (cells, d)
 * @param {Float32Array} pos (cells, d)
 * @param {Mask} padding (cells)
 * @param {Module} decoder
 * @param {number} heads
 * @param {Switches} switches
 * @param {Maps} seen
 * @returns {Float32Array[]} what each layer made of the slots, normalized for the heads: (N, d) each
 */
function decode(queryPos, memory, pos, padding, decoder, heads, switches, seen) {
  const keys = add(memory, pos), results = [];
  /** @type {Float32Array} */
  let tgt = new Float32Array(queryPos.length); // slots start without content
  for (const layer of decoder.layers) {
    if (!switches.noSelfAttention) tgt = add(tgt, readSlots(tgt, queryPos, layer, heads, seen));
    const y = add(layerNorm(tgt, layer.norm2), queryPos);
    const read = attention(y, keys, memory, padding, layer.multihead_attn, heads);
    seen.cells.push(read.weights);
    tgt = add(tgt, read.out);
    tgt = add(tgt, feedForward(layerNorm(tgt, layer.norm3), layer));
    results.push(layerNorm(tgt, decoder.norm));
  }
  return results;
}

/**
 * Self-attention: every slot reads every slot.
 * @param {Float32Array} tgt @param {Float32Array} queryPos @param {Module} layer @param {number} heads
 * @param {Maps} seen
 * @returns {Float32Array} (N, d)
 */
function readSlots(tgt, queryPos, layer, heads, seen) {
  const y = layerNorm(tgt, layer.norm1), placed = add(y, queryPos);
  const read = attention(placed, placed, y, null, layer.self_attn, heads);
  seen.slots.push(read.weights);
  return read.out;
}

/**
 * Every vector by itself, through a wider layer and back.
 * @param {Float32Array} x (rows, d)
 * @param {Module} layer
 * @returns {Float32Array} (rows, d)
 */
function feedForward(x, layer) {
  return linear(relu(linear(x, layer.linear1)), layer.linear2);
}
