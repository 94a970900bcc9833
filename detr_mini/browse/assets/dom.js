/**
 * @typedef {string | number | Node | null | undefined | false} Child
 * @typedef {Record<string, any>} Attributes
 */

/** Put attributes on an element: functions become listeners, true an empty attribute, false and null none.
 * @template {Element} E @param {E} element @param {Attributes} attributes @returns {E} */
function dress(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  return element;
}

/** @param {string} tag @param {Attributes} [attributes] @param {Child[]} children @returns {HTMLElement} */
function el(tag, attributes = {}, ...children) {
  const element = dress(document.createElement(tag), attributes);
  element.append(...children.filter(one => one !== null && one !== undefined && one !== false).map(asNode));
  return element;
}

/** Text from files goes in as text, never as markup. @param {any} child @returns {Node} */
function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** @param {string} tag @param {Attributes} [attributes] @param {Child[]} children @returns {SVGElement} */
function svg(tag, attributes = {}, ...children) {
  const element = dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);
  element.append(...children.filter(Boolean).map(asNode));
  return element;
}

/** @param {string} id @returns {any} */
function byId(id) {
  return document.getElementById(id);
}

/** 12345 as 12,345. @param {number} value */
function count(value) {
  return value.toLocaleString("en-US");
}

/** "1 picture", "2 pictures". @param {number} value @param {string} noun */
function counted(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A share in percent; small ones keep a digit. @param {number} part @param {number} whole */
function percent(part, whole) {
  if (!whole) return "0 %";
  const share = 100 * part / whole;
  return `${share > 0 && share < 10 ? share.toFixed(1) : Math.round(share)} %`;
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** A button that switches something. @param {Child[]} content @param {boolean} on @param {() => void} press */
function toggle(content, on, press, attributes = {}) {
  return el("button", { type: "button", "aria-pressed": String(on), click: press, ...attributes }, ...content);
}
