// From a button to a playground.

/** @typedef {{town: Town, models: {[name: string]: string}, slots: string, engine: () => any}} Loaded */

/**
 * Wait for the reader, then fetch what is needed and begin.
 * @param {HTMLElement} root
 */
function playground(root) {
  const start = root.querySelector('button');
  if (start) start.hidden = false; // without this script it would do nothing
  const begin = async () => {
    if (!start || start.disabled) return;
    start.disabled = true;
    start.textContent = 'The playground is loading …';
    try {
      for (const name of ['town', 'engine', 'slots']) await load(root, name);
      await openPlayground(root);
    } catch (error) {
      start.textContent = `It could not be loaded: ${error instanceof Error ? error.message : error}`;
    }
  };
  start?.addEventListener('click', begin);
  if (location.hash.startsWith('#scene=')) begin();
}

/**
 * Load a script that lies beside the others; in a notebook it is there already.
 * @param {HTMLElement} root
 * @param {string} name
 * @returns {Promise<void>}
 */
function load(root, name) {
  const folder = root.dataset.folder;
  if (!folder) return Promise.resolve();
  return new Promise((done, fail) => {
    const script = element('script', { src: `${folder}/${name}.js` });
    script.onload = () => done();
    script.onerror = () => fail(new Error(`${script.src} is missing`));
    document.head.append(script);
  });
}

/**
 * Load the file of a model, unless it is there.
 * @param {HTMLElement} root
 * @param {string} name
 */
async function loadModel(root, name) {
  if (!(/** @type {any} */ (window).playgroundModels?.[name])) await load(root, name);
}

/**
 * @param {Town} town
 * @returns {Promise<{[name: string]: HTMLImageElement}>} a picture for each ground at each hour
 */
async function readGrounds(town) {
  /** @type {{[name: string]: HTMLImageElement}} */
  const pictures = {};
  for (const [name, ground] of Object.entries(town.grounds))
    for (const [hour, src] of Object.entries(ground.pictures)) {
      pictures[name + hour] = element('img', { src, alt: '' });
      await pictures[name + hour].decode();
    }
  return pictures;
}

/**
 * @param {HTMLElement} root
 */
async function openPlayground(root) {
  const page = /** @type {any} */ (window), town = /** @type {Town} */ (page.playgroundTown);
  const [width, height] = [town.width * town.scale, town.height * town.scale];
  const pen = hiddenCanvas(width, height), overlay = element('canvas', {
    width, height, tabindex: 0, role: 'application', 'aria-label': 'The scene', 'aria-describedby': 'keys-of-the-scene',
  });
  const linked = fromAddress(location.hash, town), models = (root.dataset.models ?? '').split(' ');
  /** @type {App} */
  const app = {
    root, town, ending: root.dataset.ending ?? '.html', source: page.playgroundEngine, pen,
    overlay: overlay.getContext('2d'), grounds: await readGrounds(town),
    scene: linked ?? structuredClone(SITUATIONS['A street']), picture: null, past: [], thing: -1, brush: false,
    objects: [], models, model: modelOf(location.hash, models) || models[0], names: {},
    worker: null, busy: false, again: false, answer: null, fault: '',
    tab: 'boxes', slot: 0, layer: 5, head: -1, level: -1, cell: 100, threshold: 0.5,
    switches: { noPositions: false, noQueries: false, noSelfAttention: false, forgetMask: false, order: null },
    frame: 'alone', slots: page.playgroundSlots, parts: {},
  };
  Object.assign(root, { app }); // for whoever looks in with the browser's tools
  build(app);
  app.parts.tour.hidden = linked !== null;
  redraw(app);
  await useModel(app, app.model);
}

/**
 * Put everything where the still picture was.
 * @param {App} app
 */
function build(app) {
  const scene = app.pen.canvas;
  scene.setAttribute('aria-hidden', 'true');
  app.parts.said = element('p', { class: 'said', 'aria-hidden': 'true' });
  app.parts.aloud = element('p', { class: 'aloud', role: 'status' });
  const keys = element('p', { class: 'keys', id: 'keys-of-the-scene' }, 'Keys on the picture: n for the next thing, '
    + 'arrows to move it, + and − for its size, f to flip, c to copy, [ and ] to put it behind or in front, Delete.');
  const stage = element('div', { class: 'stage' }, scene, app.overlay.canvas);
  const left = element('div', { class: 'left' });
  left.append(stage, app.parts.said, app.parts.aloud, shelf(app), thingBar(app), keys);
  const side = tabs(app);
  side.prepend(chips(app));
  const bar = sceneBar(app);
  bar.prepend(modelChoice(app));
  app.parts.tour = tour(app);
  app.root.replaceChildren(app.parts.tour, bar, element('div', { class: 'both' }, left, side));
  listenToPointers(app);
  listenToKeys(app);
  addEventListener('hashchange', () => openAddress(app));
}

/**
 * @param {App} app
 * @returns {HTMLElement}
 */
function modelChoice(app) {
  const names = app.models.map(name => /** @type {[string, string]} */ ([name, name]));
  app.parts.model = choice('Model', names, app.model, name => useModel(app, name));
  app.parts.model.hidden = app.models.length === 1;
  return app.parts.model;
}

/**
 * Another link was opened on the same page.
 * @param {App} app
 */
function openAddress(app) {
  const scene = fromAddress(location.hash, app.town), model = modelOf(location.hash, app.models);
  if (scene) change(app, scene);
  if (model && model !== app.model) useModel(app, model);
}
