// Small helpers to build what the page shows.

/**
 * An element with attributes, listeners (names that begin with "on") and children.
 * @param {string} tag
 * @param {{[name: string]: any}} attributes
 * @param {(Node | string)[]} children
 * @returns {any}
 */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (typeof value === 'boolean') made.toggleAttribute(name, value);
    else made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * @param {string} words
 * @param {(event: Event) => void} act
 * @param {{[name: string]: any}} more
 * @returns {HTMLButtonElement}
 */
function button(words, act, more = {}) {
  return element('button', { type: 'button', onclick: act, ...more }, words);
}

/**
 * A choice of one of several, with its name before it.
 * @param {string} name
 * @param {[string, string][]} options value and words of each
 * @param {string} chosen
 * @param {(value: string) => void} act
 * @returns {HTMLLabelElement}
 */
function choice(name, options, chosen, act) {
  const list = element('select', { onchange: () => act(list.value) });
  for (const [value, words] of options)
    list.append(element('option', { value, selected: value === chosen }, words));
  return element('label', {}, name + ' ', list);
}

/**
 * @param {string} name
 * @param {{min: number, max: number, step: number, value: number}} range
 * @param {(value: number) => void} act
 * @returns {HTMLLabelElement}
 */
function slider(name, range, act) {
  const input = element('input', { type: 'range', ...range, oninput: () => tell(+input.value) });
  const now = element('output', {}, String(range.value));
  const tell = (/** @type {number} */ value) => { now.textContent = String(value); act(value); };
  return element('label', {}, name + ' ', input, ' ', now);
}

/**
 * @param {string} words
 * @param {boolean} checked
 * @param {(checked: boolean) => void} act
 * @returns {HTMLLabelElement}
 */
function checkbox(words, checked, act) {
  const input = element('input', { type: 'checkbox', checked, onchange: () => act(input.checked) });
  return element('label', {}, input, ' ' + words);
}

/**
 * One sentence and where to read on.
 * @param {App} app
 * @param {string} words
 * @param {string} page
 * @param {string} title
 * @returns {HTMLParagraphElement}
 */
function sentence(app, words, page, title) {
  return element('p', {}, words + ' ', element('a', { href: page + app.ending }, title), '.');
}
