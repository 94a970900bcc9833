// Beside the stage: the slots as chips, and for each tab what can be chosen and read.

/** @type {{[name: string]: string}} */
const TABS = { boxes: 'Boxes', slot: 'A slot', cell: 'A cell', matching: 'Matching and loss', broken: 'Break it' };

/**
 * Everything that depends on the answer or on what is chosen, anew.
 * @param {App} app
 */
function show(app) {
  drawOverlay(app);
  showChips(app);
  showTools(app);
  for (const [name, tab] of Object.entries(app.parts.tabs ?? {})) {
    tab.setAttribute('aria-selected', String(name === app.tab));
    tab.tabIndex = name === app.tab ? 0 : -1;
    app.parts.panels[name].hidden = name !== app.tab;
  }
  if (app.answer) SHOW[app.tab](app, app.answer);
  tell(app);
}

/**
 * @param {App} app
 */
function showTools(app) {
  const { things, tools, ground, hour } = app.parts, chosen = app.scene.things[app.thing];
  const options = app.scene.things.map((thing, i) => element('option', { value: i }, `${i + 1} ${thing.kind}`));
  things.replaceChildren(element('option', { value: -1 }, 'nothing'), ...options);
  things.value = app.scene.things[app.thing] ? app.thing : -1;
  for (const tool of tools) tool.disabled = !chosen;
  ground.querySelector('select').value = app.scene.ground;
  hour.querySelector('select').value = app.scene.hour;
}

/**
 * What stands below the stage in words, for all readers: what was found, how fast.
 * @param {App} app
 */
function tell(app) {
  const { answer, fault } = app;
  if (fault) { say(app, 'The model cannot answer: ' + fault); return; }
  if (!answer) { say(app, 'The model is read …'); return; }
  const last = answer.layers[answer.layers.length - 1];
  const sure = last.scores.map((_, slot) => slot).filter(slot => last.scores[slot] >= app.threshold);
  const found = sure.length > 6 ? counted(sure.map(slot => nameOf(app, last.labels[slot])))
    : sure.map(slot => `${nameOf(app, last.labels[slot])} ${last.scores[slot].toFixed(2)}`);
  const objects = app.objects.length === 1 ? '1 object' : `${app.objects.length} objects`;
  say(app, `${objects} to be found. Found: ${found.join(', ') || 'nothing'}. ${Math.round(answer.milliseconds)} ms.`);
}

/**
 * @param {string[]} names
 * @returns {string[]} each name once, with how often it is there
 */
function counted(names) {
  return [...new Set(names)].map(name => `${names.filter(one => one === name).length} × ${name}`);
}

/**
 * Show words, and have them read aloud once they stay: while a thing is dragged they change many times a second.
 * @param {App} app
 * @param {string} words
 */
function say({ parts }, words) {
  if (parts.said.textContent === words) return;
  parts.said.textContent = words;
  clearTimeout(parts.saying);
  parts.saying = setTimeout(() => { parts.aloud.textContent = words; }, 800);
}

/**
 * @param {App} app
 * @returns {HTMLElement}
 */
function chips(app) {
  app.parts.chips = Array.from({ length: 25 }, (_, slot) => button('', () => pickSlot(app, slot)));
  return element('div', { class: 'chips', role: 'group', 'aria-label': 'The 25 slots' }, ...app.parts.chips);
}

/**
 * @param {App} app
 * @param {number} slot
 */
function pickSlot(app, slot) {
  app.slot = slot;
  if (app.tab !== 'matching') app.tab = 'slot';
  show(app);
}

/**
 * Who fires, and how strongly: after the last layer, or after the one that is looked at.
 * @param {App} app
 */
function showChips(app) {
  const { answer } = app, looked = app.tab === 'slot' || app.tab === 'matching';
  const layer = answer?.layers[looked ? app.layer : answer.layers.length - 1];
  if (!layer) return;
  app.parts.chips.forEach((/** @type {HTMLButtonElement} */ chip, /** @type {number} */ slot) => {
    const score = layer.scores[slot], fires = score >= 0.5, name = nameOf(app, layer.labels[slot]);
    chip.textContent = fires ? `${slot} ${name}` : String(slot);
    chip.setAttribute('aria-label', `Slot ${slot}: ${name}, score ${score.toFixed(2)}`);
    chip.setAttribute('aria-pressed', String(slot === app.slot));
    chip.style.setProperty('--score', `${Math.round(100 * score)}%`);
    chip.style.setProperty('--class', colourOf(app, layer.labels[slot]));
  });
}

/**
 * A row of tabs and their panels.
 * @param {App} app
 * @returns {HTMLElement}
 */
function tabs(app) {
  app.parts.tabs = {};
  app.parts.panels = {};
  for (const [name, words] of Object.entries(TABS)) {
    const open = () => { app.tab = name; show(app); };
    app.parts.tabs[name] = button(words, open, { role: 'tab', id: `tab-${name}`, 'aria-controls': `panel-${name}` });
    const more = { role: 'tabpanel', id: `panel-${name}`, 'aria-labelledby': `tab-${name}`, class: 'panel' };
    app.parts.panels[name] = element('div', more, ...PANELS[name](app));
  }
  const list = element('div', { role: 'tablist', class: 'tabs', 'aria-label': 'What to look at' });
  list.append(...Object.values(app.parts.tabs));
  list.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => turnTabs(app, event));
  return element('div', { class: 'side' }, list, ...Object.values(app.parts.panels));
}

/**
 * @param {App} app
 * @param {KeyboardEvent} event
 */
function turnTabs(app, event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], names = Object.keys(TABS);
  if (!step) return;
  app.tab = names[(names.indexOf(app.tab) + step + names.length) % names.length];
  event.preventDefault();
  show(app);
  app.parts.tabs[app.tab].focus();
}

/**
 * The choice of a layer and of a head.
 * @param {App} app
 * @param {string} part
 * @param {number} layers
 * @returns {HTMLElement[]}
 */
function layerAndHead(app, part, layers) {
  const numbers = Object.fromEntries(Array.from({ length: layers }, (_, i) => [i, String(i + 1)]));
  const start = part === 'cell' ? 0 : layers - 1;
  const layer = choice('Layer', numbers, String(start), value => { app.layer = +value; show(app); });
  const heads = { '-1': 'mean of all', 0: '1', 1: '2', 2: '3', 3: '4' };
  const head = choice('Head', heads, '-1', value => { app.head = +value; show(app); });
  app.parts[part + 'Layer'] = layer.querySelector('select');
  app.parts[part + 'Head'] = head.querySelector('select');
  return part === 'matching' ? [layer] : [layer, head];
}

/**
 * The choices say what is shown, whichever tab they were made in, and offer what this model has.
 * @param {App} app
 * @param {string} part
 * @param {number} layers of the model
 */
function showLayer(app, part, layers) {
  const list = app.parts[part + 'Layer'];
  for (const option of list.options) option.hidden = +option.value >= layers;
  list.value = Math.min(app.layer, layers - 1);
  app.parts[part + 'Head'].value = app.head;
}

/** What stands in each panel.
 * @type {{[tab: string]: (app: App) => Node[]}} */
const PANELS = {
  boxes: app => [
    sentence(app, 'Each of 25 slots gives one class and one box; those that are sure enough are drawn.', '10_detr',
      'Object queries and heads'),
    slider('Threshold', { min: 0.05, max: 0.95, step: 0.05, value: app.threshold }, value => {
      app.threshold = value;
      show(app);
    }),
    app.parts.found = element('ol', { class: 'found' }),
  ],
  slot: app => [
    sentence(app, 'Bright is what this slot reads of the picture in a layer of the decoder. Dashed are its boxes after '
      + 'earlier layers.', '17_attention_maps', 'Attention maps'),
    element('div', { class: 'choices' }, ...layerAndHead(app, 'slot', 6)),
    app.parts.mapRow = slotMapRow(app),
    app.parts.slotSaid = element('p'),
  ],
  cell: app => [
    sentence(app, 'Point at the picture, or move with the arrow keys: bright is what this cell reads in a layer of the '
      + 'encoder.', '08_encoder', 'Encoder'),
    element('div', { class: 'choices' }, ...layerAndHead(app, 'cell', 3)),
    app.parts.cellSaid = element('p'),
  ],
  matching: app => [
    sentence(app, 'Each object (dashed) gets one slot, so that the sum of all costs is least. Below: what each slot '
      + 'would cost.', '11_matcher', 'Matching'),
    element('div', { class: 'choices' }, ...layerAndHead(app, 'matching', 6)),
    app.parts.costs = element('div', { class: 'costs', tabindex: 0, role: 'region', 'aria-label': 'Costs' }),
    sentence(app, 'The loss compares what was matched.', '12_loss', 'Loss'),
    app.parts.terms = element('table', { class: 'terms' }),
  ],
  broken: app => brokenPanel(app),
};

/**
 * @param {App} app
 * @returns {HTMLElement}
 */
function slotMapRow(app) {
  const row = checkbox('Where its boxes fell on 500 pictures', false, () => show(app));
  app.parts.map = row.querySelector('input');
  const more = element('a', { href: '16_slots' + app.ending }, 'What queries learn');
  return element('div', { hidden: !app.slots.mini }, row, ' (', more, ')');
}

/**
 * @param {App} app
 * @returns {Node[]}
 */
function brokenPanel(app) {
  const flip = (/** @type {Partial<Switches>} */ change) => { Object.assign(app.switches, change); ask(app); };
  const order = [7, 20, 3, 12, 24, 0, 16, 9, 22, 5, 14, 1, 18, 11, 23, 6, 2, 19, 8, 15, 21, 4, 13, 10, 17];
  return [
    sentence(app, 'Take a part away from the trained model, and see what it was for.', '18_ablations', 'Ablations'),
    checkbox('No positions: cells do not know where they are', false, noPositions => flip({ noPositions })),
    checkbox('No query vectors: all slots begin alike', false, noQueries => flip({ noQueries })),
    checkbox('Query vectors shuffled among the slots', false, is => flip({ order: is ? order : null })),
    checkbox('No self-attention: slots do not read slots', false, noSelfAttention => flip({ noSelfAttention })),
    choice('Frame', {
      alone: 'the picture alone', masked: 'padded, with its mask', forgotten: 'padded, mask forgotten',
    }, 'alone', frame => { app.frame = frame; ask(app); }),
    app.parts.brokenSaid = element('p'),
  ];
}
