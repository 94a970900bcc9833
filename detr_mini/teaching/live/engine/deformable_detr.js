// Deformable DETR with two levels and refined boxes. Chapter: Deformable DETR.

const NORM_GROUPS = 32;

/**
 * Detect the objects in a picture.
 * @param {Picture} picture
 * @param {Checkpoint} checkpoint
 * @param {Switches} switches
 * @returns {Detected}
 */
function deformableDetr(picture, { model, config }, switches = NOTHING_BROKEN) {
  const { image, mask } = pad(picture), seen = { ...nothingSeen(), points: { encoder: [], cells: [] } };
  const { features, mask: padding } = backbone(
    image, switches.forgetMask ? null : mask, model.backbone[0].body);
  const maps = featureLevels(features, padding, model.input_proj);
  const cells = joined(maps, config, model.transformer, switches);
  const memory = encodeCells(cells, model.transformer.encoder, config.nheads, seen);
  const queries = queryVectors(model.query_embed.weight, config.num_queries, switches);
  const layers = refine(queries, memory, cells, model, config, switches, seen);
  const { height, width } = features;
  return { layers, seen, height, width, padding };
}

/** @typedef {FeatureMap & {mask: Mask}} MaskedMap */

/** All cells of all levels: their vectors and positions (cells, d), which of them are padding, and where they lie.
 * @typedef {{x: Float32Array, pos: Float32Array, padding: Mask, levels: Level[]}} Cells */

/**
 * The maps that are read: the backbone's, and one of half its height and width.
 * @param {FeatureMap} features
 * @param {Mask} mask
 * @param {{weight: Float32Array, bias: Float32Array}[][]} projections a convolution and a group norm each
 * @returns {MaskedMap[]}
 */
function featureLevels(features, mask, projections) {
  return projections.map(([conv, norm], level) => {
    const stride = level ? 2 : 1, map = convolution(features, conv, level ? 3 : 1, stride);
    const own = every(stride, mask, features);
    map.data = groupNorm(map.data, own, norm);
    zeroPadding(map.data, own);
    return { ...map, mask: own };
  });
}

/**
 * Group norm: within a picture, each group of channels gets mean 0 and variance 1 over all cells that are no padding.
 * @param {Float32Array} x (cells, channels)
 * @param {Mask} mask (cells)
 * @param {{weight: Float32Array, bias: Float32Array}} norm (channels) each
 * @returns {Float32Array} (cells, channels)
 */
function groupNorm(x, mask, { weight, bias }) {
  const channels = weight.length, size = channels / NORM_GROUPS;
  const sums = new Float64Array(NORM_GROUPS), squares = new Float64Array(NORM_GROUPS);
  let count = 0;
  for (let i = 0; i < x.length; i += 1) {
    const c = i % channels, group = Math.floor(c / size);
    if (mask?.[(i - c) / channels]) continue;
    sums[group] += x[i];
    squares[group] += x[i] ** 2;
    count += 1 / NORM_GROUPS;
  }
  return x.map((value, i) => {
    const c = i % channels, group = Math.floor(c / size), mean = sums[group] / count;
    return (value - mean) / Math.sqrt(squares[group] / count - mean ** 2 + 1e-5) * weight[c] + bias[c];
  });
}

/**
 * One row of cells, level after level. Each level adds a vector of its own to the positions.
 * @param {MaskedMap[]} maps
 * @param {Config} config
 * @param {Module} transformer
 * @param {Switches} switches
 * @returns {Cells}
 */
function joined(maps, config, { level_embed }, { noPositions }) {
  let first = 0;
  const levels = maps.map(({ height, width, mask }) => {
    first += height * width;
    return { height, width, first: first - height * width, ratio: realShare(mask, height, width) };
  });
  const places = maps.map((map, level) => {
    const pos = positionEncoding(map, map.mask, config, 0.5);
    if (noPositions) pos.fill(0);
    addRow(pos, level_embed.subarray(level * config.hidden_dim, (level + 1) * config.hidden_dim));
    return pos;
  });
  const padding = maps[0].mask && Uint8Array.from(maps.flatMap(({ mask }) => [...mask ?? []]));
  return { x: chained(maps.map(map => map.data)), pos: chained(places), padding, levels };
}

/**
 * @param {Float32Array[]} parts
 * @returns {Float32Array}
 */
function chained(parts) {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/**
 * @param {Mask} mask @param {number} height @param {number} width
 * @returns {[number, number]} which share of the columns, and of the rows, is picture
 */
function realShare(mask, height, width) {
  if (!mask) return [1, 1];
  const columns = mask.subarray(0, width).filter(padded => !padded).length;
  const rows = mask.filter((padded, i) => i % width === 0 && !padded).length;
  return [columns / width, rows / height];
}

/**
 * Every cell reads a few cells of all levels around its own center; then the feed-forward block.
 * @param {Cells} cells
 * @param {Module} encoder
 * @param {number} heads
 * @param {{points: {encoder: Points[]}}} seen
 * @returns {Float32Array} (cells, d): the memory
 */
function encodeCells({ x, pos, padding, levels }, encoder, heads, seen) {
  const centers = levels.flatMap(level => centersOf(level));
  for (const layer of encoder.layers) {
    const read = deformableAttention(
      add(x, pos), Float32Array.from(centers), x, levels, padding, layer.self_attn, heads);
    seen.points.encoder.push(read.points);
    x = layerNorm(add(x, read.out), layer.norm1);
    x = layerNorm(add(x, feedForward(x, layer)), layer.norm2);
  }
  return x;
}

/**
 * @param {Level} level
 * @returns {number[]} x and y of the center of each cell in turn, as shares of the picture
 */
function centersOf({ height, width, ratio }) {
  return Array.from({ length: 2 * height * width }, (_, i) => {
    const cell = i >> 1;
    return i & 1 ? (Math.floor(cell / width) + 0.5) / height / ratio[1] : (cell % width + 0.5) / width / ratio[0];
  });
}

/**
 * Slots read slots, and a few cells around their references; each layer corrects the boxes of the one before.
 * @param {Float32Array} queries (N, 2d): for each slot its position, and the content that it begins with
 * @param {Float32Array} memory (cells, d)
 * @param {Cells} cells
 * @param {Module} model
 * @param {Config} config
 * @param {Switches} switches
 * @param {Maps & {points: {cells: Points[]}}} seen
 * @returns {Answers[]} of each layer
 */
function refine(queries, memory, { padding, levels }, model, config, switches, seen) {
  const { nheads, hidden_dim: d } = config, { decoder, reference_points } = model.transformer;
  const pos = columnsOf(queries, 2 * d, 0, d);
  let x = columnsOf(queries, 2 * d, 1, d), reference = sigmoid(linear(pos, reference_points)); // (N, 2)
  return decoder.layers.map((/** @type {Module} */ layer, /** @type {number} */ number) => {
    if (!switches.noSelfAttention) x = add(x, askSlots(x, pos, layer, nheads, seen));
    x = layerNorm(x, layer.norm2); // as published, the second norm comes first
    const read = deformableAttention(add(x, pos), reference, memory, levels, padding, layer.cross_attn, nheads);
    seen.points.cells.push(read.points);
    x = layerNorm(add(x, read.out), layer.norm1);
    x = layerNorm(add(x, feedForward(x, layer)), layer.norm3);
    reference = corrected(reference, boxHead(x, model.bbox_embed[number])); // (N, 4)
    return { logits: linear(x, model.class_embed[number]), boxes: reference };
  });
}

/**
 * @param {Float32Array} x @param {Float32Array} pos @param {Module} layer @param {number} heads @param {Maps} seen
 * @returns {Float32Array} (N, d): what each slot read of all slots
 */
function askSlots(x, pos, layer, heads, seen) {
  const placed = add(x, pos), read = attention(placed, placed, x, null, layer.self_attn, heads);
  seen.slots.push(read.weights);
  return read.out;
}

/**
 * References changed by logits: boxes. A point has no sides yet.
 * @param {Float32Array} reference (N, 2) or (N, 4)
 * @param {Float32Array} change (N, 4)
 * @returns {Float32Array} (N, 4)
 */
function corrected(reference, change) {
  const known = 4 * reference.length / change.length;
  return sigmoid(change.map((value, i) => {
    const at = reference[Math.floor(i / 4) * known + i % 4];
    return i % 4 < known ? value + Math.log(Math.max(at, 1e-5) / Math.max(1 - at, 1e-5)) : value;
  }));
}
