// DETR: backbone, positions, encoder, decoder, two heads. Chapter: Object queries and heads.

/** Answers of one decoder layer: logits (N, K + 1), and boxes (N, 4), center and size as shares of the picture.
 * @typedef {{logits: Float32Array, boxes: Float32Array}} Answers */

/** @typedef {{layers: Answers[], seen: Maps, height: number, width: number, padding: Mask}} Detected
 * `height` and `width` of the feature map, in cells */

/** Pixels as a canvas gives them, red, green, blue and opacity from 0 to 255. With `frame` they are padded to its size.
 * @typedef {{data: ArrayLike<number>, height: number, width: number,
 *   frame?: {height: number, width: number} | null}} Picture */

/** @type {Switches} */
const NOTHING_BROKEN = {
  noPositions: false, noQueries: false, noSelfAttention: false, forgetMask: false, order: null,
};

/**
 * Detect the objects in a picture.
 * @param {Picture} picture
 * @param {Checkpoint} checkpoint
 * @param {Switches} switches
 * @returns {Detected}
 */
function detr(picture, { model, config }, switches = NOTHING_BROKEN) {
  const { encoder, decoder } = model.transformer, seen = nothingSeen();
  const { image, mask } = pad(picture);
  const { features, mask: padding } = backbone(
    image, switches.forgetMask ? null : mask, model.backbone[0].body);
  const x = linear(features.data, model.input_proj); // (cells, d)
  const pos = positionEncoding(features, padding, config); // (cells, d)
  if (switches.noPositions) pos.fill(0);
  const queries = queryVectors(model.query_embed.weight, config.num_queries, switches);
  const memory = encode(x, pos, padding, encoder, config.nheads, seen);
  const hs = decode(
    queries, memory, pos, padding, decoder, config.nheads, switches, seen);
  const layers = hs.map(slots => heads(slots, model)); // (N, d) each
  const { height, width } = features;
  return { layers, seen, height, width, padding };
}

/**
 * Every slot's class and box, each by itself.
 * @param {Float32Array} slots (N, d)
 * @param {Module} model
 * @returns {Answers}
 */
function heads(slots, model) {
  return { logits: linear(slots, model.class_embed), boxes: sigmoid(boxHead(slots, model.bbox_embed)) };
}

/**
 * Three linear layers, to four numbers for each slot.
 * @param {Float32Array} slots (N, d)
 * @param {Module} module
 * @returns {Float32Array} (N, 4)
 */
function boxHead(slots, { layers: [first, second, last] }) {
  return linear(relu(linear(relu(linear(slots, first)), second)), last);
}

/**
 * The object queries, or what a switch makes of them.
 * @param {Float32Array} weight a row for each of them
 * @param {number} count N
 * @param {Switches} switches
 * @returns {Float32Array} as many numbers as `weight`
 */
function queryVectors(weight, count, { noQueries, order }) {
  if (noQueries) return new Float32Array(weight.length);
  const out = weight.slice(), width = weight.length / count;
  order?.forEach((from, to) => out.set(weight.subarray(from * width, (from + 1) * width), to * width));
  return out;
}

const IMAGENET_MEAN = [0.485, 0.456, 0.406], IMAGENET_STD = [0.229, 0.224, 0.225];

/**
 * A normalized picture in the top left corner of its frame, zeros around it, and a mask that says where they are.
 * @param {Picture} picture
 * @returns {{image: FeatureMap, mask: Mask}}
 */
function pad({ data, height, width, frame }) {
  const wide = frame ?? { height, width }, pixels = new Float32Array(wide.height * wide.width * 3);
  const mask = frame ? new Uint8Array(wide.height * wide.width).fill(1) : null;
  for (let i = 0; i < height * width; i += 1) {
    const at = Math.floor(i / width) * wide.width + i % width;
    for (let c = 0; c < 3; c += 1) pixels[3 * at + c] = (data[4 * i + c] / 255 - IMAGENET_MEAN[c]) / IMAGENET_STD[c];
    if (mask) mask[at] = 0;
  }
  return { image: { data: pixels, ...wide, channels: 3 }, mask };
}
