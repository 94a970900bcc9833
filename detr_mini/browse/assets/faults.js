/** The kinds of possible faults, each a button that shows its pictures, and words about the whole. */
function drawFaults() {
  const entries = Object.entries(page.data.kinds).filter(([, kind]) => kind.count);
  byId("faults-lead").textContent = entries.length ?
    "What breaks a rule of the format, and what follows the rules and may be wrong all the same. A kind shows its " +
    "pictures below; whether it is a fault, a person has to say." : "Nothing was found that may be a fault.";
  byId("fault-kinds").replaceChildren(...entries.map(([key, kind]) => {
    const on = page.state.fault === key;
    return kindButton(kind.title, kind.count, `in ${counted(kind.pictures, "picture")}`, kind.meaning, on,
      () => showPictures({ fault: on ? "" : key }));
  }));
  byId("words").replaceChildren(...words());
}

/** A tile: a name, a number, what it means. @param {string} name @param {number} value @param {string} where
 * @param {string} meaning @param {boolean} on @param {() => void} press @param {string} [kind] */
function kindButton(name, value, where, meaning, on, press, kind = "") {
  return toggle([el("b", {}, count(value)), el("span", { class: "name" }, name), el("span", { class: "where" }, where),
    el("span", { class: "meaning" }, meaning)], on, press, { class: `kind ${kind}` });
}

function words() {
  const { words, mended, unlisted } = page.data;
  const more = unlisted > 0 && el("li", {}, `and ${count(unlisted)} more; detr-mini check-data lists all`);
  return [...listOf("About the data set as a whole", words, more), ...listOf("Mended, or without harm", mended)];
}

/** A list under a heading; nothing where it is empty.
 * @param {string} title @param {string[]} items @param {Node | false} [more] */
function listOf(title, items, more) {
  if (!items.length) return [];
  return [el("h3", {}, title), el("ul", { class: "words" }, ...items.map(item => el("li", {}, item)), more)];
}
