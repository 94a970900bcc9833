// A scene: what the reader has put where. Lengths are the model's pixels, 128 x 96, y downwards.

/** A thing stands with the middle of its foot at (x, y), `size` pixels for its unit height.
 * @typedef {{kind: string, look: number, x: number, y: number, size: number, flip: boolean}} Thing */

/** @typedef {{ground: string, hour: string, things: Thing[], strokes: number[][], noise: number}} Scene
 * `things` from back to front; a stroke of the brush is x and y in turn */

/** A shape: its color, whether it is an oval, whether it is part of the outline, and its points.
 * @typedef {[string, number, number, number[]]} Shape */

/** @typedef {{category: number, name: string, half: number, meters: number, looks: Shape[][]}} Kind */

/** @typedef {{width: number, height: number, scale: number,
 *   hours: {[name: string]: {light: number[]}},
 *   grounds: {[name: string]: {horizon: number, eye: number, pictures: {[hour: string]: string}}},
 *   kinds: {[name: string]: Kind}}} Town */

const BRUSH = 5; // radius, in the model's pixels

/**
 * @param {string} ground
 * @param {[string, number, number, number, number?][]} things kind, x, y, size and look of each
 * @returns {Scene}
 */
function sceneOf(ground, things) {
  return {
    ground, hour: 'day', strokes: [], noise: 0,
    things: things.map(([kind, x, y, size, look = 0]) => ({ kind, look, x, y, size: Math.abs(size), flip: size < 0 })),
  };
}

/** @type {{[name: string]: Scene}} */
const SITUATIONS = {
  'A street': sceneOf('street', [
    ['tree', 17, 49, 26, 1], ['house', 104, 48, 25], ['bus', 54, 69, 27], ['person', 104, 88, 27, 1],
    ['balloon', 68, 27, 17],
  ]),
  'Two buses': sceneOf('street', [['bus', 38, 64, 24], ['bus', 92, 73, -26, 1]]),
  'Half a bus': sceneOf('street', [['bus', 2, 70, 30], ['person', 88, 84, 26, 2]]),
  'A crowd': sceneOf('meadow', [
    ['person', 18, 58, 17], ['person', 30, 64, 20, 1], ['person', 43, 60, 18, 2], ['person', 57, 70, 22, 3],
    ['person', 71, 62, 19, 4], ['person', 84, 74, 24], ['person', 99, 66, 21, 1], ['person', 113, 78, 26, 2],
    ['person', 36, 86, 28, 3], ['dog', 66, 90, 14],
  ]),
  'Bus in the sky': sceneOf('sky', [['bus', 66, 46, 26], ['bird', 22, 30, 10]]),
  'One behind the other': sceneOf('avenue', [['bus from the front', 62, 80, 40], ['person', 70, 92, 36, 1]]),
  'Boats': sceneOf('lake', [['sailing boat', 30, 46, 24], ['sailing boat', 96, 56, -32, 1], ['steamer', 62, 58, 16]]),
  'Nothing': sceneOf('meadow', []),
};

/**
 * The box around a thing as it stands, whether or not it can be seen: left, top, right, bottom.
 * @param {Thing} thing
 * @param {Town} town
 * @returns {[number, number, number, number]}
 */
function extent(thing, town) {
  const points = town.kinds[thing.kind].looks[thing.look].flatMap(shape => shape[3]);
  const xs = points.filter((_, i) => i % 2 === 0), ys = points.filter((_, i) => i % 2);
  const left = Math.min(...xs) * thing.size, right = Math.max(...xs) * thing.size;
  const [from, to] = thing.flip ? [-right, -left] : [left, right];
  return [thing.x + from, thing.y - Math.max(...ys) * thing.size, thing.x + to, thing.y - Math.min(...ys) * thing.size];
}

/**
 * A new thing, as large as its distance asks, where it belongs.
 * @param {string} kind
 * @param {Scene} scene
 * @param {Town} town
 * @returns {Thing}
 */
function newThing(kind, scene, town) {
  const { meters, looks } = town.kinds[kind], ground = town.grounds[scene.ground];
  const count = scene.things.length, same = scene.things.filter(thing => thing.kind === kind).length;
  const x = 24 + (count * 37) % 84, flies = meters === 0 || ground.horizon > town.height;
  const y = flies ? 30 + (count * 11) % 40 : Math.min(92, ground.horizon + 22 + (count * 9) % 34);
  const size = flies ? 16 : meters * (y - ground.horizon) / ground.eye;
  return within({ kind, look: same % looks.length, x, y, size, flip: false }, town);
}

/**
 * A thing of a size and at a place that can be worked with.
 * @param {Thing} thing
 * @param {Town} town
 * @returns {Thing}
 */
function within(thing, town) {
  const between = (/** @type {number} */ low, /** @type {number} */ x, /** @type {number} */ high) =>
    Math.round(10 * Math.min(Math.max(x, low), high)) / 10;
  const size = between(5, thing.size, 90);
  return { ...thing, size, x: between(-10, thing.x, town.width + 10), y: between(2, thing.y, town.height + size - 4) };
}

/**
 * A scene, and the model that looks at it, as the end of an address.
 * @param {Scene} scene
 * @param {string} model
 * @returns {string}
 */
function toAddress(scene, model) {
  const things = scene.things.map(({ kind, look, x, y, size, flip }) => [kind, look, x, y, flip ? -size : size]);
  const text = JSON.stringify([scene.ground, scene.hour, scene.noise, things, scene.strokes, model]);
  return '#scene=' + encodeURIComponent(btoa(text));
}

/**
 * @param {string} address
 * @returns {any[]} what `toAddress` packed; an error where it did not
 */
function unpacked(address) {
  return JSON.parse(atob(decodeURIComponent(address.replace('#scene=', ''))));
}

/**
 * The model of an address; '' where it names none of these.
 * @param {string} address
 * @param {string[]} models
 * @returns {string}
 */
function modelOf(address, models) {
  try {
    return models.find(name => name === unpacked(address)[5]) ?? '';
  } catch {
    return '';
  }
}

/**
 * The scene of an address; null where it has none, or one that does not make sense.
 * @param {string} address
 * @param {Town} town
 * @returns {Scene | null}
 */
function fromAddress(address, town) {
  try {
    const [ground, hour, noise, things, strokes] = unpacked(address);
    if (!town.grounds[ground] || !town.hours[hour] || things.length > 40) return null;
    return {
      ground, hour, noise: Math.min(Math.max(Number(noise), 0), 100),
      things: things.map((/** @type {any[]} */ packed) => thingOf(packed, town)),
      strokes: strokes.map((/** @type {number[]} */ stroke) => stroke.map(Number)),
    };
  } catch {
    return null;
  }
}

/**
 * @param {any[]} packed
 * @param {Town} town
 * @returns {Thing}
 */
function thingOf([kind, look, x, y, size], town) {
  if (!town.kinds[kind]?.looks[look] || ![x, y, size].every(Number.isFinite)) throw new Error('no thing of Tiny Town');
  return within({ kind, look, x, y, size: Math.abs(size), flip: size < 0 }, town);
}
