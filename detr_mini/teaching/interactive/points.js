function play(figure, stored, said) {
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const spots = new Uint16Array(bytes(stored.spots).buffer), sizes = bytes(stored.sizes);
const panel = figure.querySelector('.panels'), canvas = figure.querySelector('canvas');
const which = figure.querySelector('.which'), level = figure.querySelector('.level');
const L = stored.colours.length, n = sizes.length / (stored.names.length * stored.h * stored.w * L);
const whole = 1 + 2 * stored.margin;
let row = stored.row, column = stored.column;
function draw() {
  const area = panel.getBoundingClientRect(), scale = Math.min(window.devicePixelRatio || 1, 2);
  const name = which ? which.selectedIndex : 0, only = level ? level.selectedIndex - 1 : -1;
  canvas.width = Math.max(1, Math.round(area.width * scale));
  canvas.height = Math.max(1, Math.round(area.height * scale));
  const pen = canvas.getContext('2d'), shares = new Array(L).fill(0);
  const x = share => (share + stored.margin) / whole * area.width;
  const y = share => (share + stored.margin) / whole * area.height;
  let at = ((name * stored.h + row) * stored.w + column) * L * n, outside = 0, total = 0;
  pen.scale(scale, scale); pen.lineWidth = 1; pen.strokeStyle = stored.inks.card;
  for (let l = 0; l < L; l += 1) {
    for (let i = 0; i < n; i += 1, at += 1) {
      const px = spots[2 * at] / 65535 * 2 - 0.5, py = spots[2 * at + 1] / 65535 * 2 - 0.5;
      const root = sizes[at] / 255, weight = root * root;
      shares[l] += weight; total += weight;
      if (px < 0 || px > 1 || py < 0 || py > 1) outside += weight;
      if (only >= 0 && only !== l) continue;
      pen.fillStyle = stored.colours[l]; pen.beginPath();
      pen.arc(x(px), y(py), stored.whole * area.width * root, 0, 6.3); pen.fill(); pen.stroke();
    }
  }
  const sides = [area.width / whole / stored.w, area.height / whole / stored.h];
  [[5, stored.inks.card], [2, stored.inks.mark]].forEach(function ([wide, ink]) {
    pen.lineWidth = wide; pen.strokeStyle = ink; pen.strokeRect(x(column / stored.w), y(row / stored.h), ...sides); });
  const percent = share => Math.round(100 * share / (total || 1)) + ' %';
  said.textContent = 'Row ' + row + ', column ' + column + ': '
    + (L > 1 ? shares.map((share, l) => percent(share) + ' on level ' + (l + 1)).join(', ') + '; ' : '')
    + percent(outside) + ' outside of the picture.';
}
function go(r, c) {
  row = Math.min(Math.max(r, 0), stored.h - 1); column = Math.min(Math.max(c, 0), stored.w - 1);
  draw();
}
function point(event) {
  const area = panel.getBoundingClientRect();
  go(Math.floor(stored.h * ((event.clientY - area.top) / area.height * whole - stored.margin)),
     Math.floor(stored.w * ((event.clientX - area.left) / area.width * whole - stored.margin)));
}
panel.addEventListener('pointermove', point);
panel.addEventListener('pointerdown', point);
panel.addEventListener('keydown', function (event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (step) { go(row + step[0], column + step[1]); event.preventDefault(); event.stopPropagation(); }
});
[which, level].forEach(function (choice) { if (choice) choice.addEventListener('change', draw); });
figure.querySelector('.controls').style.display = 'flex';
figure.querySelector('.first').style.display = 'none';
canvas.style.display = 'block';
new ResizeObserver(draw).observe(panel);
draw();
}
