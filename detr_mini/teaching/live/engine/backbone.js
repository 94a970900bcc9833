// From a picture to its feature map: a ResNet for small pictures, stride 8. Chapter: Backbone.

/** A picture or what was made of it: a row of `channels` numbers for each cell, cell after cell, line after line.
 * @typedef {{data: Float32Array, height: number, width: number, channels: number}} FeatureMap */

/** Which cells are padding: 1 where nothing is, 0 at a real cell. `null` where nothing is padded.
 * @typedef {Uint8Array | null} Mask */

/**
 * @param {FeatureMap} image normalized, in a frame that may be larger than it
 * @param {Mask} mask of the frame's pixels
 * @param {Module} body
 * @returns {{features: FeatureMap, mask: Mask}} at an eighth of the size
 */
function backbone(image, mask, body) {
  let features = convolution(image, body.conv1, 3, 2);
  mask = every(2, mask, image);
  zeroPadding(relu(features.data), mask);
  for (const [layer, stride] of [[body.layer1, 2], [body.layer2, 2], [body.layer3, 1]]) {
    mask = every(stride, mask, features);
    features = residualBlock(features, mask, layer, stride);
  }
  return { features, mask };
}

/**
 * Two 3x3 convolutions around a shortcut.
 * @param {FeatureMap} x
 * @param {Mask} mask of the result
 * @param {Module} layer
 * @param {number} stride
 * @returns {FeatureMap}
 */
function residualBlock(x, mask, layer, stride) {
  const y = convolution(x, layer.conv1, 3, stride);
  zeroPadding(relu(y.data), mask);
  const z = convolution(y, layer.conv2, 3, 1);
  z.data = relu(add(z.data, convolution(x, layer.downsample, 1, stride).data));
  zeroPadding(z.data, mask);
  return z;
}

/**
 * A convolution with its batch norm: each cell's patch of the picture is a row, and the rest is a linear layer.
 * @param {FeatureMap} x
 * @param {{weight: Float32Array, bias: Float32Array}} conv
 * @param {number} side of the patch: 3 or 1
 * @param {number} stride
 * @returns {FeatureMap}
 */
function convolution(x, conv, side, stride) {
  const height = Math.ceil(x.height / stride), width = Math.ceil(x.width / stride);
  return { data: linear(patches(x, side, stride), conv), height, width, channels: conv.bias.length };
}

/**
 * @param {FeatureMap} x
 * @param {number} side
 * @param {number} stride
 * @returns {Float32Array} a row of side x side x channels numbers for each cell; 0 beyond the frame
 */
function patches(x, side, stride) {
  const rows = Math.ceil(x.height / stride), columns = Math.ceil(x.width / stride), reach = (side - 1) / 2;
  const out = new Float32Array(rows * columns * side * side * x.channels);
  let at = 0;
  for (let r = 0; r < rows; r += 1)
    for (let c = 0; c < columns; c += 1)
      for (let dy = -reach; dy <= reach; dy += 1)
        for (let dx = -reach; dx <= reach; dx += 1, at += x.channels)
          copyCell(x, r * stride + dy, c * stride + dx, out, at);
  return out;
}

/**
 * @param {FeatureMap} x @param {number} row @param {number} column
 * @param {Float32Array} out @param {number} at
 */
function copyCell(x, row, column, out, at) {
  if (row < 0 || column < 0 || row >= x.height || column >= x.width) return;
  const from = (row * x.width + column) * x.channels;
  for (let i = 0; i < x.channels; i += 1) out[at + i] = x.data[from + i];
}

/**
 * The pixels of a mask on which the patches of this stride are centered.
 * @param {number} stride
 * @param {Mask} mask
 * @param {{width: number}} size of the mask
 * @returns {Mask}
 */
function every(stride, mask, { width }) {
  return mask && mask.filter((_, i) => Math.floor(i / width) % stride === 0 && (i % width) % stride === 0);
}

/**
 * Set padded cells to zero, in place, just as a convolution pads: so a picture is the same alone and in a frame.
 * @param {Float32Array} x (cells, channels)
 * @param {Mask} mask (cells)
 */
function zeroPadding(x, mask) {
  if (!mask) return;
  const channels = x.length / mask.length;
  mask.forEach((padded, cell) => { if (padded) x.fill(0, cell * channels, (cell + 1) * channels); });
}
