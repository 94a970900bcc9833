/** Draw what a change of the view touches. @param {Partial<State>} before */
function draw(before) {
  const changed = key => before[key] !== page.state[key];
  const any = (...keys) => keys.some(changed);
  if (any("view", "heat")) drawCharts();
  if (any("view")) drawGlance();
  if (any("cls")) drawClasses();
  if (any("fault")) drawFaults();
  if (any("t", "error", "pair", "cls")) drawResults();
  if (any("sort", "split", "cls", "fault", "error", "pair", "boxes", "names", "t")) {
    keepFocus(drawTools);
    drawGrid(any("boxes", "names", "t") ? Number(byId("grid").dataset.most) || STEP : STEP);
  }
  if (any("p", "boxes", "names", "t")) drawLarge();
}

/** Draw anew what holds the focus, and give it back. @param {() => void} redraw */
function keepFocus(redraw) {
  const id = document.activeElement ? document.activeElement.id : "";
  redraw();
  if (id && byId(id) && document.activeElement === document.body) byId(id).focus();
}

/** Where the page says that it shows a part. */
function describeSample() {
  const { pictures, total } = page.data;
  byId("sample").textContent = pictures.length === total ? `All ${counted(total, "picture")} are on this page.` :
    `This page shows ${count(pictures.length)} of ${counted(total, "picture")}: some of every class, those with most ` +
    "possible faults, the hardest, and the others by lot. All numbers above are those of the whole data set.";
}

function prepareViews() {
  byId("view").replaceChildren(...page.data.summary.views.map((view, k) => el("option", { value: k }, view.name)));
  byId("view").addEventListener("change", event => go({ view: event.target.value }));
}

function listen() {
  byId("more").addEventListener("click", () => {
    const before = Number(byId("grid").dataset.most);
    drawGrid(before + STEP);
    byId("grid").children[before]?.querySelector("button")?.focus();
  });
  byId("tools").addEventListener("submit", event => event.preventDefault());
  byId("large").addEventListener("keydown", largeKey);
  byId("large").addEventListener("close", () => {
    const key = page.state.p;
    if (key) go({ p: "" });
  });
  addEventListener("popstate", follow);
  addEventListener("hashchange", follow);
  addEventListener("resize", () => { if (byId("large").open) sizeDrawing(openIndex()); });
}

/** Take the view from the address. */
function follow() {
  const before = { ...page.state };
  page.state = readAddress();
  byId("view").value = page.state.view;
  draw(before);
}

function main() {
  page.data = JSON.parse(byId("data").textContent);
  page.thumbnails = JSON.parse(byId("thumbnails").textContent);
  page.state = readAddress();
  prepareViews();
  prepareResults();
  drawFacts();
  describeSample();
  listen();
  draw({});
}
