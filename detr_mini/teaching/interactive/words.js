function play(figure, stored, said) {
const panels = figure.querySelector('.panels'), choice = figure.querySelector('select');
const asks = [...figure.querySelectorAll('.asks > .word')], read = [...figure.querySelectorAll('.read > .word')];
const text = word => word.firstElementChild.textContent;
const rgb = colour => [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16));
const card = rgb(stored.inks.card), full = rgb(stored.inks.full);
// A bitmap: the tenth byte says where its rows begin; the lowest comes first, and each is filled up to four bytes.
const bytes = Uint8Array.from(atob(stored.weights.split(',')[1]), c => c.charCodeAt(0));
const begin = bytes[10] + 256 * bytes[11], width = 4 * Math.ceil(read.length / 4);
const rows = (bytes.length - begin) / width;
const weight = (row, key) => bytes[begin + (rows - 1 - row) * width + key] / 200;
let query = stored.query;
function go(q) {
  query = Math.min(Math.max(q, 0), asks.length - 1);
  asks.forEach(function (word, i) {
    word.style.boxShadow = i === query ? 'inset 0 0 0 3px ' + stored.inks.mark : 'inset 0 0 0 1px ' + stored.inks.quiet;
  });
  const row = (choice ? choice.selectedIndex : 0) * asks.length + query;
  const shares = read.map((word, key) => [weight(row, key), text(word)]);
  read.forEach(function (word, key) {
    const share = shares[key][0], mixed = card.map((low, i) => Math.round(low + (full[i] - low) * share));
    word.style.backgroundColor = 'rgb(' + mixed + ')';
    word.querySelector('.weight').textContent = share.toFixed(2);
  });
  const most = shares.filter(one => one[0] > 0).sort((a, b) => b[0] - a[0]).slice(0, 3);
  said.textContent = text(asks[query]) + ' reads '
    + (most.map(one => one[1] + ' ' + one[0].toFixed(2)).join(', ') || 'nothing');
}
function point(event) {
  const word = event.target.closest('.asks > .word');
  if (word && asks.indexOf(word) !== query) go(asks.indexOf(word));
}
panels.addEventListener('pointermove', point);
panels.addEventListener('pointerdown', point);
panels.addEventListener('keydown', function (event) {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (step) { go(query + step); event.preventDefault(); event.stopPropagation(); }
});
if (choice) choice.addEventListener('change', function () { go(query); });
figure.querySelector('.controls').style.display = 'flex';
go(query);
}
