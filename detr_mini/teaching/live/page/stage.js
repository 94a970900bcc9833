// The stage: things are dragged with pointer or finger, and moved with the keys.

/**
 * Where an event is, in the model's pixels.
 * @param {App} app
 * @param {{clientX: number, clientY: number}} event
 * @returns {[number, number]}
 */
function placeOf(app, event) {
  const area = app.overlay.canvas.getBoundingClientRect(), { width, height } = app.town;
  return [(event.clientX - area.left) / area.width * width, (event.clientY - area.top) / area.height * height];
}

/**
 * The thing in front at a place, or -1.
 * @param {App} app
 * @param {number} x
 * @param {number} y
 * @returns {number}
 */
function thingAt({ scene, town }, x, y) {
  return scene.things.findLastIndex(thing => {
    const [left, top, right, bottom] = extent(thing, town);
    return x > left - 1 && x < right + 1 && y > top - 1 && y < bottom + 1;
  });
}

/**
 * @param {App} app
 * @param {number} x @param {number} y
 * @returns {boolean} whether this is the corner that the chosen thing is pulled at
 */
function onGrip({ scene, town, thing }, x, y) {
  if (!scene.things[thing]) return false;
  const [, top, right] = extent(scene.things[thing], town);
  return Math.hypot(x - right - 1, y - top + 1) < 4;
}

/**
 * @param {App} app
 * @param {number} x @param {number} y
 */
function pointAtCell(app, x, y) {
  if (!app.answer) return;
  const column = Math.min(Math.max(Math.floor(x / 8), 0), app.town.width / 8 - 1);
  const row = Math.min(Math.max(Math.floor(y / 8), 0), app.town.height / 8 - 1);
  app.cell = row * app.answer.width + column;
  show(app);
}

/**
 * What a pull does: it moves a thing, makes it larger or smaller, or paints.
 * @param {App} app
 * @param {number} x @param {number} y
 * @returns {(x: number, y: number) => void}
 */
function beginPull(app, x, y) {
  if (app.tab === 'cell') return (toX, toY) => pointAtCell(app, toX, toY);
  remember(app);
  if (app.brush) {
    const stroke = [Math.round(x), Math.round(y)];
    app.scene.strokes.push(stroke);
    return (toX, toY) => { stroke.push(Math.round(toX), Math.round(toY)); };
  }
  if (!onGrip(app, x, y)) app.thing = thingAt(app, x, y);
  const thing = app.scene.things[app.thing];
  if (!thing) return () => {};
  const tall = thing.y - extent(thing, app.town)[1];
  if (onGrip(app, x, y)) return (_, toY) => changeThing(app, { size: thing.size * (thing.y - toY) / tall });
  return (toX, toY) => changeThing(app, { x: thing.x + toX - x, y: thing.y + toY - y });
}

/**
 * Listen to pointers of all kinds.
 * @param {App} app
 */
function listenToPointers(app) {
  const { canvas } = app.overlay;
  /** @type {((x: number, y: number) => void) | null} */
  let pull = null;
  canvas.addEventListener('pointerdown', event => {
    const [x, y] = placeOf(app, event);
    pull = beginPull(app, x, y);
    pull(x, y);
    canvas.setPointerCapture(event.pointerId);
    redraw(app);
  });
  canvas.addEventListener('pointermove', event => {
    const [x, y] = placeOf(app, event);
    if (app.tab === 'cell') pointAtCell(app, x, y);
    else if (pull) { pull(x, y); redraw(app); }
  });
  for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => { pull = null; });
}

const STEPS = /** @type {{[key: string]: [number, number]}} */ ({
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
});

/**
 * @param {App} app
 */
function listenToKeys(app) {
  app.overlay.canvas.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey) {
      if (event.key === 'z') { undo(app); event.preventDefault(); }
      return;
    }
    const step = STEPS[event.key], act = KEYS[event.key];
    if (!step && !act) return;
    event.preventDefault();
    event.stopPropagation();
    if (step) stepBy(app, step, event.shiftKey ? 8 : 2);
    else act(app);
  });
}

/**
 * Move the cell that is pointed at, or else the thing.
 * @param {App} app
 * @param {[number, number]} step
 * @param {number} far
 */
function stepBy(app, [dx, dy], far) {
  if (app.tab === 'cell' && app.answer) {
    const { width } = app.answer;
    pointAtCell(app, (app.cell % width + dx) * 8 + 4, (Math.floor(app.cell / width) + dy) * 8 + 4);
    return;
  }
  const thing = app.scene.things[app.thing];
  if (!thing) return;
  remember(app);
  changeThing(app, { x: thing.x + far * dx, y: thing.y + far * dy });
  redraw(app);
}
