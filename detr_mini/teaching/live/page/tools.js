// What can be done with the chosen thing, and with the scene.

/**
 * Do something with the chosen thing.
 * @param {App} app
 * @param {(things: Thing[], index: number) => number} act returns which thing is chosen afterwards
 */
function withThing(app, act) {
  if (!app.scene.things[app.thing]) return;
  remember(app);
  app.thing = act(app.scene.things, app.thing);
  redraw(app);
}

/** @type {{[name: string]: (app: App) => void}} */
const TOOLS = {
  'Smaller': app => withThing(app, (_, i) => (changeThing(app, { size: app.scene.things[i].size / 1.15 }), i)),
  'Larger': app => withThing(app, (_, i) => (changeThing(app, { size: app.scene.things[i].size * 1.15 }), i)),
  'Flip': app => withThing(app, (things, i) => (changeThing(app, { flip: !things[i].flip }), i)),
  'Copy': app => withThing(app, (things, i) => {
    const copy = { ...things[i], x: things[i].x + 12, y: things[i].y + 4 };
    return things.push(within(copy, app.town)) - 1;
  }),
  'Behind': app => withThing(app, (things, i) => (things.unshift(...things.splice(i, 1)), 0)),
  'In front': app => withThing(app, (things, i) => (things.push(...things.splice(i, 1)), things.length - 1)),
  'Delete': app => withThing(app, (things, i) => (things.splice(i, 1), Math.min(i, things.length - 1))),
};

/** @type {{[key: string]: (app: App) => void}} */
const KEYS = {
  '-': TOOLS['Smaller'], '+': TOOLS['Larger'], '=': TOOLS['Larger'], 'f': TOOLS['Flip'], 'c': TOOLS['Copy'],
  '[': TOOLS['Behind'], ']': TOOLS['In front'], 'Delete': TOOLS['Delete'], 'Backspace': TOOLS['Delete'],
  'n': app => { app.thing = (app.thing + 1) % Math.max(1, app.scene.things.length); show(app); },
};

/**
 * The row above the stage: what scene it is.
 * @param {App} app
 * @returns {HTMLElement}
 */
function sceneBar(app) {
  const same = (/** @type {string[]} */ names) => names.map(name => /** @type {[string, string]} */ ([name, name]));
  const open = (/** @type {string} */ name) => { app.thing = -1; change(app, SITUATIONS[name]); };
  app.parts.situation = choice('Situation', same(Object.keys(SITUATIONS)), 'A street', open);
  const { grounds, hours } = app.town;
  app.parts.ground = choice('Ground', same(Object.keys(grounds)), app.scene.ground, ground => change(app, { ground }));
  app.parts.hour = choice('Hour', same(Object.keys(hours)), app.scene.hour, hour => change(app, { hour }));
  const { situation, ground, hour } = app.parts;
  return element('div', { class: 'bar' }, situation, ground, hour,
    button('Undo', () => undo(app)),
    button('Reset', () => open(situation.querySelector('select').value)),
    button('Copy link', () => copyLink(app)),
    button('Save picture', () => savePicture(app)));
}

/**
 * @param {App} app
 */
async function copyLink(app) {
  putInAddress(app);
  try {
    await navigator.clipboard.writeText(location.href);
    say(app, 'The link to this scene is copied.');
  } catch {
    say(app, 'The link to this scene stands in the address bar now.');
  }
}

/**
 * Scene and what is drawn over it, as a file.
 * @param {App} app
 */
function savePicture(app) {
  const { canvas } = app.pen, both = hiddenCanvas(canvas.width, canvas.height);
  both.drawImage(canvas, 0, 0);
  both.drawImage(app.overlay.canvas, 0, 0);
  element('a', { download: 'scene.png', href: both.canvas.toDataURL() }).click();
  say(app, 'The picture is saved as scene.png.');
}

/**
 * The row below the stage: the chosen thing, brush and noise.
 * @param {App} app
 * @returns {HTMLElement}
 */
function thingBar(app) {
  app.parts.things = element('select', { onchange: () => { app.thing = +app.parts.things.value; show(app); } });
  app.parts.tools = Object.entries(TOOLS).map(([name, act]) => button(name, () => act(app)));
  const range = { min: 0, max: 100, step: 5, value: app.scene.noise };
  app.parts.noise = slider('Noise', range, noise => change(app, { noise }));
  return element('div', { class: 'bar' }, element('label', {}, 'Chosen ', app.parts.things), ...app.parts.tools,
    checkbox('Brush', app.brush, brush => { app.brush = brush; show(app); }), app.parts.noise);
}

/**
 * Everything that can be put into the scene, as small pictures.
 * @param {App} app
 * @returns {HTMLElement}
 */
function shelf(app) {
  return element('div', { class: 'shelf', role: 'group', 'aria-label': 'Put into the scene' },
    ...Object.keys(app.town.kinds).map(kind => {
      const made = button('', () => addThing(app, kind), { title: `Add a ${kind}`, 'aria-label': `Add a ${kind}` });
      made.append(thumbnail(app, kind));
      return made;
    }));
}

/**
 * @param {App} app
 * @param {string} kind
 */
function addThing(app, kind) {
  const things = [...app.scene.things, newThing(kind, app.scene, app.town)];
  change(app, { things });
  app.thing = things.length - 1;
  show(app);
}

/**
 * @param {App} app
 * @param {string} kind
 * @returns {HTMLCanvasElement}
 */
function thumbnail({ town }, kind) {
  const pen = hiddenCanvas(88, 64), thing = { kind, look: 0, x: 0, y: 0, size: 1, flip: false };
  const [left, top, right, bottom] = extent(thing, town), size = Math.min(38 / (right - left), 27 / (bottom - top));
  pen.scale(2, 2);
  const x = 22 - size * (left + right) / 2, y = 16 - size * (top + bottom) / 2;
  drawThing(pen, { ...thing, x, y, size }, town, [255, 255, 255]);
  pen.canvas.setAttribute('aria-hidden', 'true');
  return pen.canvas;
}
