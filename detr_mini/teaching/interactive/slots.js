function play(figure, stored, said) {
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const points = bytes(stored.points), own = bytes(stored.own), counts = stored.counts;
const kinds = Object.keys(stored.kinds), colours = Object.values(stored.kinds), N = counts[0].length;
const grid = figure.querySelector('.grid'), large = figure.querySelector('.large'), box = figure.querySelector('.box');
const input = figure.querySelector('input'), now = figure.querySelector('label b');
const columns = stored.columns, rows = Math.ceil(N / columns);
let moment = stored.moment, query = stored.query;
function sized(panel) {
  const canvas = panel.querySelector('canvas'), area = panel.getBoundingClientRect();
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(area.width * scale));
  canvas.height = Math.max(1, Math.round(area.height * scale));
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale); pen.fillStyle = stored.inks.card; pen.fillRect(0, 0, area.width, area.height);
  return [pen, area.width, area.height];
}
function dots(pen, q, left, top, width, height, size) {
  let at = 2 * (moment * N + q) * stored.pictures;
  pen.globalAlpha = 0.55;
  counts[moment][q].forEach(function (count, kind) {
    const side = kind === 1 || kind === 2 ? 1.5 * size : size;
    pen.fillStyle = colours[kind]; pen.beginPath();
    for (let i = 0; i < count; i += 1, at += 2) {
      const x = left + points[at] / 255 * width, y = top + points[at + 1] / 255 * height;
      pen.moveTo(x + side, y); pen.arc(x, y, side, 0, 6.3);
    }
    pen.fill();
  });
  pen.globalAlpha = 1;
}
function draw() {
  let [pen, width, height] = sized(grid);
  const w = width / columns, h = height / rows;
  for (let q = 0; q < N; q += 1) {
    const left = q % columns * w, top = Math.floor(q / columns) * h;
    dots(pen, q, left + 2, top + 2, w - 4, h - 4, 0.8);
    pen.lineWidth = q === query ? 3 : 1; pen.strokeStyle = q === query ? stored.inks.mark : stored.inks.quiet;
    pen.strokeRect(left + 1.5, top + 1.5, w - 3, h - 3);
    pen.fillStyle = stored.inks.ink; pen.font = (q === query ? 'bold ' : '') + '10px sans-serif';
    pen.fillText(q, left + 5, top + 13);
  }
  [pen, width, height] = sized(large);
  dots(pen, query, 0, 0, width, height, 2);
  pen.strokeStyle = stored.inks.quiet; pen.strokeRect(0.5, 0.5, width - 1, height - 1);
  const [cx, cy, bw, bh, score] = own.slice(5 * (moment * N + query), 5 * (moment * N + query) + 5);
  const percent = x => (x / 2.55).toFixed(2) + '%';
  box.style.left = percent(cx - bw / 2); box.style.top = percent(cy - bh / 2);
  box.style.width = percent(bw); box.style.height = percent(bh);
  box.style.borderStyle = score > 127.5 ? 'solid' : 'dashed';
  pen.lineWidth = 1.5; pen.strokeStyle = stored.inks.ink; pen.beginPath();
  pen.arc(cx / 255 * width, cy / 255 * height, Math.max(4, width / 60), 0, 6.3); pen.stroke();
  const shares = counts[moment][query].map((count, kind) => Math.round(100 * count / stored.pictures) + ' % '
    + kinds[kind]);
  now.textContent = stored.labels[moment]; input.setAttribute('aria-valuetext', stored.labels[moment]);
  said.textContent = 'Query ' + query + ' at ' + stored.labels[moment] + ': ' + shares.join('; ')
    + '. On the picture shown (ring): score ' + (score / 255).toFixed(2) + '.';
}
function choose(q) { query = Math.min(Math.max(q, 0), N - 1); draw(); }
grid.addEventListener('pointerdown', function (event) {
  const area = grid.getBoundingClientRect();
  const column = Math.floor(columns * (event.clientX - area.left) / area.width);
  const q = columns * Math.floor(rows * (event.clientY - area.top) / area.height) + column;
  if (q >= 0 && q < N) choose(q);
});
grid.addEventListener('keydown', function (event) {
  const step = { ArrowUp: -columns, ArrowDown: columns, ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  if (query + step >= 0 && query + step < N) choose(query + step);
  event.preventDefault(); event.stopPropagation();
});
input.addEventListener('input', function () { moment = +input.value; draw(); });
figure.querySelector('label').style.display = 'flex';
figure.querySelectorAll('canvas').forEach(function (canvas) { canvas.style.display = 'block'; });
new ResizeObserver(draw).observe(grid);
draw();
}
