// From the file of a trained model, as the package ships it (.safetensors), to arrays under their names.

/** A part of the model: its arrays, and its parts, under the names that they have in the package.
 * @typedef {{[name: string]: any}} Module */

/** @typedef {{hidden_dim: number, nheads: number, num_queries: number, num_classes: number,
 *   position_temperature: number, position_scale: number, max_size: number}} Config */

/** Only a Deformable DETR's config has `num_feature_levels`.
 * @typedef {{config: Config & {num_feature_levels?: number}, classNames: {[id: string]: string},
 *   model: Module}} Checkpoint */

/**
 * A safetensors file: eight bytes that tell the length of a JSON text, this text, and then all numbers.
 * @param {Uint8Array} file
 * @returns {Checkpoint}
 */
function readCheckpoint(file) {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const { __metadata__: notes, ...entries } = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  const numbers = file.subarray(8 + length);
  /** @type {Module} */
  const model = {};
  for (const [name, entry] of Object.entries(entries))
    if (entry.dtype === 'F16') plant(model, name.split('.'), fromHalf(numbers.subarray(...entry.data_offsets)));
  foldNorms(model.backbone[0].body);
  if (Array.isArray(model.input_proj)) model.input_proj.forEach(arrange);
  return { config: JSON.parse(notes.config), classNames: JSON.parse(notes.class_names), model };
}

/**
 * Put an array where its name says: "encoder.layers.0.norm1.weight" becomes encoder.layers[0].norm1.weight.
 * @param {Module} part
 * @param {string[]} path
 * @param {Float32Array} array
 */
function plant(part, [first, ...rest], array) {
  if (!rest.length) part[first] = array;
  else plant(part[first] ??= /^\d+$/.test(rest[0]) ? [] : {}, rest, array);
}

/**
 * @param {string} text base64
 * @returns {Uint8Array}
 */
function fromBase64(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * Numbers of half precision, two bytes each: a sign, five bits of exponent, ten of fraction.
 * @param {Uint8Array} bytes
 * @returns {Float32Array}
 */
function fromHalf(bytes) {
  const numbers = new Float32Array(bytes.length / 2);
  for (let i = 0; i < numbers.length; i += 1) {
    const bits = bytes[2 * i] + 256 * bytes[2 * i + 1];
    const exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
    const size = exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
    numbers[i] = bits >> 15 ? -size : size;
  }
  return numbers;
}

/**
 * A trained batch norm only scales and shifts each channel: that goes into the convolution before it.
 * @param {Module} body of the backbone
 */
function foldNorms(body) {
  body.conv1 = foldNorm(body.conv1.weight, body.bn1, 3);
  for (const layer of [body.layer1, body.layer2, body.layer3]) {
    layer.conv1 = foldNorm(layer.conv1.weight, layer.bn1, 3);
    layer.conv2 = foldNorm(layer.conv2.weight, layer.bn2, 3);
    layer.downsample = foldNorm(layer.downsample[0].weight, layer.downsample[1], 1);
  }
}

/**
 * @param {Float32Array} weight (out, in, side, side)
 * @param {Module} norm
 * @param {number} side
 * @returns {{weight: Float32Array, bias: Float32Array}}
 */
function foldNorm(weight, norm, side) {
  const scales = Array.from(norm.weight, (scale, o) => scale / Math.sqrt(norm.running_var[o] + 1e-5));
  const bias = Float32Array.from(scales, (scale, o) => norm.bias[o] - norm.running_mean[o] * scale);
  return { weight: inOrderOfPatches(weight, scales, side), bias };
}

/**
 * A convolution without a batch norm, but with a bias: to one of a Deformable DETR's levels.
 * @param {Module[]} projection a convolution, and a norm that stays as it is
 * @param {number} level
 */
function arrange([convolution], level) {
  convolution.weight = inOrderOfPatches(convolution.weight, Array(convolution.bias.length).fill(1), level ? 3 : 1);
}

/**
 * @param {Float32Array} weight (out, in, side, side)
 * @param {number[]} scales (out)
 * @param {number} side
 * @returns {Float32Array} (out, side, side, in), in the order of `patches`, each output scaled
 */
function inOrderOfPatches(weight, scales, side) {
  const area = side * side, ins = weight.length / scales.length / area, out = new Float32Array(weight.length);
  scales.forEach((scale, o) => {
    for (let i = 0; i < ins; i += 1)
      for (let k = 0; k < area; k += 1) out[(o * area + k) * ins + i] = weight[(o * ins + i) * area + k] * scale;
  });
  return out;
}
