function play(figure, stored, said) {
const panels = figure.querySelector('.panels'), sheet = figure.querySelector('.sheet');
const choice = figure.querySelector('select'), marks = figure.querySelectorAll('.marked');
let row = stored.row, column = stored.column;
const share = (index, count) => 100 * index / Math.max(1, count - 1) + '%';
function go(r, c) {
  row = Math.min(Math.max(r, 0), stored.h - 1); column = Math.min(Math.max(c, 0), stored.w - 1);
  sheet.style.backgroundPosition = share(column, stored.w) + ' ' + share(row, stored.h);
  marks.forEach(function (mark) {
    mark.style.left = 100 * column / stored.w + '%'; mark.style.top = 100 * row / stored.h + '%'; });
  said.textContent = 'row ' + row + ', column ' + column;
}
function point(event) {
  const panel = event.target.closest('.panels > div');
  if (!panel) return;
  const box = panel.getBoundingClientRect();
  go(Math.floor(stored.h * (event.clientY - box.top) / box.height),
     Math.floor(stored.w * (event.clientX - box.left) / box.width));
}
panels.addEventListener('pointermove', point);
panels.addEventListener('pointerdown', point);
panels.addEventListener('keydown', function (event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (step) { go(row + step[0], column + step[1]); event.preventDefault(); event.stopPropagation(); }
});
if (choice) choice.addEventListener('change', function () {
  sheet.style.backgroundImage = 'url(' + stored.sheets[choice.value] + ')'; });
figure.querySelector('.controls').style.display = 'flex';
go(row, column);
}
