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
  if (app.answer) {
    showKind(app, app.answer.seen.points ? 'points' : 'maps');
    SHOW[app.tab](app, app.answer);
  }
  tell(app);
}

/**
 * Show what belongs to this kind of model, and hide what belongs to the other.
 * @param {App} app
 * @param {string} kind
 */
function showKind(app, kind) {
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (app.root.querySelectorAll('[data-for]')))
    part.hidden = part.dataset.for !== kind;
  app.parts.mapRow.hidden = !app.slots[app.model];
}

/**
 * @param {App} app
 */
function showTools(app) {
  const { things, tools, ground, hour, model } = app.parts, chosen = app.scene.things[app.thing];
  const options = app.scene.things.map((thing, i) => element('option', { value: i }, `${i + 1} ${thing.kind}`));
  things.replaceChildren(element('option', { value: -1 }, 'nothing'), ...options);
  things.value = app.scene.things[app.thing] ? app.thing : -1;
  for (const tool of tools) tool.disabled = !chosen;
  ground.querySelector('select').value = app.scene.ground;
  hour.querySelector('select').value = app.scene.hour;
  model.querySelector('select').value = app.model;
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
