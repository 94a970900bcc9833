// A scene on a canvas, drawn as Tiny Town draws; the picture that the model gets of it; and what there is to be found.

const OUTLINE = '#2c263a';

/**
 * A canvas that is not shown, whose pixels are read.
 * @param {number} width
 * @param {number} height
 * @returns {CanvasRenderingContext2D}
 */
function hiddenCanvas(width, height) {
  const pen = Object.assign(document.createElement('canvas'), { width, height }).getContext('2d', {
    willReadFrequently: true,
  });
  if (!pen) throw new Error('this browser draws on no canvas');
  return pen;
}

/**
 * A color in the light of an hour.
 * @param {string} hex
 * @param {number[]} light of 255 each
 * @returns {string}
 */
function lit(hex, light) {
  const channels = [1, 3, 5].map((at, i) => Math.floor(parseInt(hex.slice(at, at + 2), 16) * light[i] / 255));
  return `rgb(${channels.join(',')})`;
}

/**
 * The outline of a shape, where it stands in the scene.
 * @param {Shape} shape
 * @param {Thing} thing
 * @param {number} grow by how much an oval is larger
 * @returns {Path2D}
 */
function outlined([, oval, , points], { x, y, size, flip }, grow) {
  const path = new Path2D(), turn = flip ? -1 : 1;
  const at = (/** @type {number} */ i) => [x + turn * points[i] * size, y - points[i + 1] * size];
  const [ax, ay] = at(0), [bx, by] = at(2);
  if (oval) {
    path.ellipse((ax + bx) / 2, (ay + by) / 2, Math.abs(bx - ax) / 2 + grow, Math.abs(by - ay) / 2 + grow, 0, 0, 7);
    return path;
  }
  for (let i = 0; i < points.length; i += 2) path.lineTo(at(i)[0], at(i)[1]);
  path.closePath();
  return path;
}

/**
 * A thing: first its outline, then all its shapes. Without `light` its silhouette, all in black.
 * @param {CanvasRenderingContext2D} pen
 * @param {Thing} thing
 * @param {Town} town
 * @param {number[] | null} light
 */
function drawThing(pen, thing, town, light) {
  const shapes = town.kinds[thing.kind].looks[thing.look];
  const edge = Math.max(1, Math.round((0.28 + 0.006 * thing.size) * 3)) / 3;
  pen.lineJoin = 'round';
  pen.lineWidth = 2 * edge + 1 / 3;
  pen.fillStyle = pen.strokeStyle = light ? lit(OUTLINE, light) : '#000';
  for (const shape of shapes.filter(one => one[2])) {
    pen.fill(outlined(shape, thing, edge));
    if (!shape[1]) pen.stroke(outlined(shape, thing, 0));
  }
  if (!light) return;
  for (const shape of shapes) {
    pen.fillStyle = lit(shape[0], light);
    pen.fill(outlined(shape, thing, 0));
  }
}

/**
 * The ground darkens under what stands on it, a little to the right: the light comes from the left.
 * @param {CanvasRenderingContext2D} pen
 * @param {Thing} thing
 * @param {Town} town
 */
function drawShadow(pen, { kind, x, y, size }, town) {
  const { half, meters, name } = town.kinds[kind], boat = name === 'boat';
  if (meters === 0) return;
  const rx = size * half * (name === 'tree' ? 0.8 : 0.95), ry = boat ? 0.03 * size : Math.min(0.07 * size, 0.16 * rx);
  pen.beginPath();
  pen.ellipse(boat ? x : x + 0.25 * rx, y, rx, ry, 0, 0, 7);
  pen.fill();
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {number[][]} strokes
 */
function drawStrokes(pen, strokes) {
  Object.assign(pen, { lineWidth: 2 * BRUSH, lineCap: 'round', lineJoin: 'round', strokeStyle: '#8f8a83' });
  for (const stroke of strokes) {
    pen.beginPath();
    for (let i = 0; i < stroke.length; i += 2) pen.lineTo(stroke[i], stroke[i + 1]);
    if (stroke.length === 2) pen.lineTo(stroke[0] + 0.01, stroke[1]);
    pen.stroke();
  }
}

/**
 * The whole scene.
 * @param {CanvasRenderingContext2D} pen
 * @param {Scene} scene
 * @param {Town} town
 * @param {CanvasImageSource} ground its picture
 */
function drawScene(pen, scene, town, ground) {
  const { light } = town.hours[scene.hour];
  pen.setTransform(town.scale, 0, 0, town.scale, 0, 0);
  pen.drawImage(ground, 0, 0, town.width, town.height);
  pen.fillStyle = 'rgba(26, 24, 62, 0.33)';
  if (scene.ground !== 'sky') for (const thing of scene.things) drawShadow(pen, thing, town);
  for (const thing of scene.things) drawThing(pen, thing, town, light);
  drawStrokes(pen, scene.strokes);
}

/**
 * The picture that the model gets: each of its pixels is the mean of those that the reader sees, and noise.
 * @param {CanvasRenderingContext2D} pen that the scene was drawn with
 * @param {Town} town
 * @param {number} noise the most that is added to a channel, or taken away
 * @returns {{data: Uint8ClampedArray, width: number, height: number}}
 */
function pictureOf(pen, { width, height, scale }, noise) {
  const fine = pen.getImageData(0, 0, width * scale, height * scale).data, sums = new Float32Array(width * height * 4);
  for (let i = 0, at = 0; i < height * scale; i += 1)
    for (let j = 0; j < width * scale; j += 1, at += 4) {
      const to = 4 * (Math.floor(i / scale) * width + Math.floor(j / scale));
      sums[to] += fine[at]; sums[to + 1] += fine[at + 1]; sums[to + 2] += fine[at + 2];
    }
  const data = new Uint8ClampedArray(sums.length), random = randomNumbers();
  for (let i = 0; i < data.length; i += 1)
    data[i] = i % 4 === 3 ? 255 : sums[i] / scale ** 2 + noise * (2 * random() - 1);
  return { data, width, height };
}

/**
 * The same row of numbers from 0 to 1 each time, so that the noise of a scene is a part of it.
 * @returns {() => number}
 */
function randomNumbers() {
  let state = 1;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

/** @typedef {{index: number, label: number, box: number[], share: number}} Seen
 * `index` of the thing; its box as cx, cy, w, h; which share of it can be seen */

/**
 * What there is to be found, as Tiny Town is annotated: boxes of the pixels that can be seen. Of a thing that shows
 * fewer than 25 pixels, or less than four tenths of itself, nothing is asked.
 * @param {Scene} scene
 * @param {Town} town
 * @returns {Seen[]}
 */
function objectsOf(scene, town) {
  const { width, height } = town, covered = silhouette(town, pen => drawStrokes(pen, scene.strokes));
  /** @type {Seen[]} */
  const found = [];
  for (let index = scene.things.length - 1; index >= 0; index -= 1) {
    const thing = scene.things[index], whole = silhouette(town, pen => drawThing(pen, thing, town, null));
    const shown = whole.map((is, i) => is && !covered[i] ? 1 : 0);
    whole.forEach((is, i) => { covered[i] ||= is; });
    const all = whole.reduce((sum, is) => sum + is, 0), seen = shown.reduce((sum, is) => sum + is, 0);
    if (seen < 25 || seen < 0.4 * all) continue;
    const label = town.kinds[thing.kind].category;
    found.unshift({ index, label, box: boxAround(shown, width, height), share: seen / all });
  }
  return found;
}

/**
 * Which of the model's pixels something covers.
 * @param {Town} town
 * @param {(pen: CanvasRenderingContext2D) => void} draw
 * @returns {Uint8Array}
 */
function silhouette({ width, height }, draw) {
  const pen = silhouettePen ??= hiddenCanvas(width, height);
  pen.clearRect(0, 0, width, height);
  draw(pen);
  const { data } = pen.getImageData(0, 0, width, height);
  return Uint8Array.from({ length: width * height }, (_, i) => data[4 * i + 3] >= 128 ? 1 : 0);
}

/** @type {CanvasRenderingContext2D | undefined} */
let silhouettePen;

/**
 * @param {Uint8Array} mask @param {number} width @param {number} height
 * @returns {number[]} cx, cy, w, h as shares
 */
function boxAround(mask, width, height) {
  let left = width, top = height, right = 0, bottom = 0;
  mask.forEach((is, i) => {
    if (!is) return;
    left = Math.min(left, i % width); right = Math.max(right, i % width + 1);
    top = Math.min(top, Math.floor(i / width)); bottom = Math.max(bottom, Math.floor(i / width) + 1);
  });
  return [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height];
}
