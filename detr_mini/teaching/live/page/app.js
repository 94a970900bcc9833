// The state of the playground, and what happens when it changes: draw, ask, show.

/** @typedef {{root: HTMLElement, town: Town, ending: string, source: () => any,
 *   pen: CanvasRenderingContext2D, overlay: CanvasRenderingContext2D, grounds: {[name: string]: HTMLImageElement},
 *   scene: Scene, picture: Picture | null, past: Scene[], thing: number, brush: boolean, objects: Seen[],
 *   models: string[], model: string, names: {[id: string]: string},
 *   worker: Worker | null, busy: boolean, again: boolean, answer: Answer | null, fault: string,
 *   tab: string, slot: number, layer: number, head: number, level: number, cell: number, threshold: number,
 *   switches: Switches, frame: string, slots: {[model: string]: SlotMap}, parts: {[name: string]: any}}} App
 * `thing` is the index of the one that is chosen, or -1; `head` and `level` -1 are all of them */

/** Where the boxes of each slot fell on 500 pictures: x and y of each center, from 0 to 255, as base64.
 * @typedef {{pictures: number, centers: string}} SlotMap */

const FRAME = { height: 128, width: 168 }; // of a batch in which another picture is larger

/**
 * Change the scene, so that it can be undone.
 * @param {App} app
 * @param {Partial<Scene>} other what is to be otherwise
 */
function change(app, other) {
  remember(app);
  Object.assign(app.scene, structuredClone(other));
  app.thing = Math.min(app.thing, app.scene.things.length - 1);
  redraw(app);
}

/**
 * Keep the scene as it is now, to come back to it.
 * @param {App} app
 */
function remember(app) {
  app.past.push(structuredClone(app.scene));
  if (app.past.length > 100) app.past.shift();
}

/**
 * @param {App} app
 */
function undo(app) {
  const before = app.past.pop();
  if (!before) return;
  app.scene = before;
  app.thing = Math.min(app.thing, before.things.length - 1);
  redraw(app);
}

/**
 * Change one thing of the scene.
 * @param {App} app
 * @param {Partial<Thing>} other what is to be otherwise
 */
function changeThing(app, other) {
  const { things } = app.scene;
  if (things[app.thing]) things[app.thing] = within({ ...things[app.thing], ...other }, app.town);
}

/**
 * Draw the scene, see what there is to be found, and ask the model.
 * @param {App} app
 */
function redraw(app) {
  drawScene(app.pen, app.scene, app.town, app.grounds[app.scene.ground + app.scene.hour]);
  app.picture = pictureOf(app.pen, app.town, app.scene.noise);
  if (app.scene.noise) showNoise(app);
  app.objects = objectsOf(app.scene, app.town);
  ask(app);
  show(app);
}

/**
 * Ask the model; where it is still busy, once more when it has answered.
 * @param {App} app
 */
function ask(app) {
  app.again = app.busy;
  if (app.busy || !app.worker || !app.picture) return;
  app.busy = true;
  const targets = { labels: app.objects.map(one => one.label), boxes: app.objects.map(one => one.box) };
  const frame = app.frame === 'alone' ? null : FRAME;
  const switches = { ...app.switches, forgetMask: app.frame === 'forgotten' };
  app.worker.postMessage({ question: { picture: { ...app.picture, frame }, targets, switches } });
}

/**
 * Let the reader see the noise that the model sees.
 * @param {App} app
 */
function showNoise({ pen, picture }) {
  if (!picture) return;
  const { data, width, height } = picture, small = hiddenCanvas(width, height);
  small.putImageData(new ImageData(new Uint8ClampedArray(data), width, height), 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small.canvas, 0, 0, width, height);
  pen.imageSmoothingEnabled = true;
}

/**
 * Make the worker from the engine's own text, which works from a file, too, and give it a model.
 * @param {App} app
 * @param {string} file of the model, base64
 */
function startModel(app, file) {
  app.worker?.terminate();
  const text = `(${app.source})().serve(self);`;
  app.worker = new Worker(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })));
  app.busy = true;
  app.worker.onmessage = ({ data }) => hear(app, data);
  app.worker.onerror = event => hear(app, { fault: event.message });
  app.worker.postMessage({ file });
}

/**
 * Have another model look at the scene.
 * @param {App} app
 * @param {string} name
 */
async function useModel(app, name) {
  app.worker?.terminate();
  Object.assign(app, { model: name, worker: null, answer: null, busy: true, layer: Infinity });
  show(app);
  try {
    await loadModel(app.root, name);
    if (app.model !== name) return; // yet another was chosen meanwhile
    startModel(app, /** @type {any} */ (window).playgroundModels[name]);
  } catch (error) {
    hear(app, { fault: String(error) });
  }
}

/**
 * What the worker says: that the model is there, an answer, or what went wrong.
 * @param {App} app
 * @param {{classNames?: {[id: string]: string}, answer?: Answer, fault?: string}} data
 */
function hear(app, data) {
  app.busy = false;
  app.fault = data.fault ?? '';
  if (data.classNames) { app.names = data.classNames; app.again = true; }
  if (data.answer) app.answer = data.answer;
  if (app.answer) app.layer = Math.min(app.layer, app.answer.layers.length - 1);
  if (app.again) ask(app);
  show(app);
  keepInAddress(app);
}

/**
 * Once the reader has changed something, the address holds the scene: to come back to, or to hand on.
 * @param {App} app
 */
function keepInAddress(app) {
  const { past, model, models, parts } = app, changed = past.length || model !== models[0];
  clearTimeout(parts.keeping);
  if (changed) parts.keeping = setTimeout(() => putInAddress(app), 500);
}

/**
 * @param {App} app
 */
function putInAddress({ scene, model }) {
  history.replaceState(null, '', toAddress(scene, model));
}
