// Six steps for a first visit.

/** What each step says, and what it does to the playground.
 * @type {[string, (app: App) => void][]} */
const TOUR = [
  ['Drag the bus. Its box comes along: the model looks at the picture again each time, in this page.',
    app => { app.tab = 'boxes'; app.thing = app.scene.things.findIndex(thing => thing.kind === 'bus'); }],
  ['Each colored chip is a slot that fires. Drag the bus to the other side: another slot takes it over.',
    app => { app.tab = 'boxes'; }],
  ['Pick a chip to see what its slot reads. Change the layer: from the first to the last its box settles.',
    app => { app.tab = 'slot'; app.slot = likeliest(app); }],
  ['Point at a cell of the bus: in the encoder it reads cells of the same bus, or of what is like it.',
    app => { app.tab = 'cell'; }],
  ['Training pairs each object with one slot, and compares them. Move a thing and watch the loss.',
    app => { app.tab = 'matching'; }],
  ['Take the slots’ self-attention away: nobody tells them any more who has taken what. What doubles?',
    app => { app.tab = 'broken'; }],
];

/**
 * The slot that is surest of an object.
 * @param {App} app
 * @returns {number}
 */
function likeliest({ answer, slot }) {
  const scores = answer?.layers[answer.layers.length - 1].scores;
  return scores ? scores.indexOf(Math.max(...scores)) : slot;
}

/**
 * The tour's box; it goes when the reader has seen enough.
 * @param {App} app
 * @returns {HTMLElement}
 */
function tour(app) {
  let step = 0;
  const said = element('p', { 'aria-live': 'polite' }), count = element('span', { class: 'count' });
  const go = (/** @type {number} */ to) => {
    step = Math.min(Math.max(to, 0), TOUR.length - 1);
    said.textContent = TOUR[step][0];
    count.textContent = `${step + 1} of ${TOUR.length}`;
    back.disabled = step === 0;
    next.disabled = step === TOUR.length - 1;
    TOUR[step][1](app);
    show(app);
  };
  const back = button('Back', () => go(step - 1)), next = button('Next', () => go(step + 1));
  const box = element('div', { class: 'tour', role: 'group', 'aria-label': 'A tour of six steps' }, said,
    element('div', { class: 'choices' }, count, back, next, button('Close', () => { box.hidden = true; })));
  go(0);
  return box;
}
