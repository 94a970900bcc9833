// What stands in each panel: what can be chosen, and a sentence about it that leads to its chapter.

/**
 * @param {string} kind of model: of those that have "maps" of attention, or "points"
 * @param {HTMLElement} part
 * @returns {HTMLElement}
 */
function only(kind, part) {
  part.dataset.for = kind;
  return part;
}

/**
 * The choice of a layer, of a head, and of a level where there are several.
 * @param {App} app
 * @param {string} part
 * @param {number} layers
 * @returns {HTMLElement[]}
 */
function layerAndHead(app, part, layers) {
  /** @type {[string, string][]} */
  const numbers = Array.from({ length: layers }, (_, i) => [String(i), String(i + 1)]);
  const start = part === 'cell' ? 0 : layers - 1;
  const layer = choice('Layer', numbers, String(start), value => { app.layer = +value; show(app); });
  /** @type {[string, string][]} */
  const heads = [['-1', 'all'], ['0', '1'], ['1', '2'], ['2', '3'], ['3', '4']];
  const head = choice('Head', heads, '-1', value => { app.head = +value; show(app); });
  app.parts[part + 'Layer'] = layer.querySelector('select');
  app.parts[part + 'Head'] = head.querySelector('select');
  const level = choice('Level', [['-1', 'both'], ['0', 'fine'], ['1', 'coarse']], '-1', value => {
    app.level = +value;
    show(app);
  });
  app.parts[part + 'Level'] = level.querySelector('select');
  return part === 'matching' ? [layer] : [layer, head, only('points', level)];
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
  app.parts[part + 'Level'].value = app.level;
}

/** What stands in each panel.
 * @type {{[tab: string]: (app: App) => Node[]}} */
const PANELS = {
  boxes: app => [
    only('maps', sentence(app, 'Each of 25 slots gives one class and one box; those that are sure enough are drawn.',
      '10_detr', 'Object queries and heads')),
    only('points', sentence(app, 'Each of 25 slots gives one box, and to each class a yes or no of its own. Drawn is '
      + 'its likeliest class, where that is sure enough.', '20_deformable_detr', 'Deformable DETR')),
    slider('Threshold', { min: 0.05, max: 0.95, step: 0.05, value: app.threshold }, value => {
      app.threshold = value;
      show(app);
    }),
    app.parts.found = element('ol', { class: 'found' }),
  ],
  slot: app => [
    only('maps', sentence(app, 'Bright is what this slot reads of the picture in a layer of the decoder. Dashed are '
      + 'its boxes after earlier layers.', '17_attention_maps', 'Attention maps')),
    only('points', sentence(app, 'This model has no map of attention: a slot reads a few points around its box of the '
      + 'layer before, in layer 1 around a point of its own. The larger a dot, the more it counts; blue is on the fine '
      + 'level, orange on the coarse one. Dashed are its boxes after earlier layers.',
      '20_deformable_detr', 'Deformable DETR')),
    element('div', { class: 'choices' }, ...layerAndHead(app, 'slot', 6)),
    app.parts.mapRow = slotMapRow(app),
    app.parts.slotSaid = element('p'),
  ],
  cell: app => [
    only('maps', sentence(app, 'Point at the picture, or move with the arrow keys: bright is what this cell reads in a '
      + 'layer of the encoder.', '08_encoder', 'Encoder')),
    only('points', sentence(app, 'Point at the picture, or move with the arrow keys: the dots are the points that this '
      + 'cell reads in a layer of the encoder, blue on the fine level, orange on the coarse one.',
      '19_deformable_attention', 'Deformable attention')),
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
  return element('div', {}, row, ' (', more, ')');
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
    choice('Frame', [
      ['alone', 'the picture alone'], ['masked', 'padded, with its mask'], ['forgotten', 'padded, mask forgotten'],
    ], 'alone', frame => { app.frame = frame; ask(app); }),
    only('points', sentence(app, 'In this model a cell looks from its own place, and a slot from a point that its '
      + 'query vector gives: the first switch leaves the places, the second takes the points as well.',
      '20_deformable_detr', 'Deformable DETR')),
    app.parts.brokenSaid = element('p'),
  ];
}
