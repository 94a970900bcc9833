function play(figure, stored, said) {
const one = name => figure.querySelector('.' + name), all = name => Array.from(figure.querySelectorAll('.' + name));
const asks = all('ask'), pieces = all('piece'), choice = figure.querySelector('select'), asked = new Set([0]);
const named = new Set();
let over = false;
// At first one piece is on the table. Each other one is asked for, and counts.
function lay(number) {
  asked.add(number);
  asks.forEach(function (ask, i) {
    ask.setAttribute('aria-pressed', i === number);
    ask.style.borderStyle = asked.has(i) ? 'solid' : 'dashed';
    ask.style.background = i === number ? stored.inks.chosen : 'transparent';
    ask.style.color = i === number ? stored.inks.card : 'inherit';
  });
  pieces.forEach(function (piece, i) { piece.hidden = i !== number; });
  if (!over) one('count').textContent = asked.size + ' of ' + asks.length + ' pieces of evidence asked for.';
}
function say(words, ink) { said.textContent = words; said.style.borderLeftColor = ink; }
// Solved or told. Other causes may still be named, to read what speaks against them.
function close() { over = true; one('solved').hidden = false; one('tell').hidden = true; }
function judge() {
  const found = stored.verdicts[choice.value];
  if (!found) { say('Choose a cause first.', 'transparent'); return; }
  named.add(choice.value);
  const score = ' Found with ' + asked.size + ' of ' + asks.length + ' pieces of evidence, and '
    + (named.size > 1 ? named.size + ' causes named.' : 'named at once.');
  say((found.right ? 'Right. ' : 'Not this. ') + found.text + (found.right && !over ? score : ''),
    found.right ? stored.inks.right : stored.inks.wrong);
  if (found.right) close();
  one('tell').hidden = over || named.size < stored.patience;
}
asks.forEach(function (ask, i) { ask.addEventListener('click', function () { lay(i); }); });
one('judge').addEventListener('click', judge);
one('tell').addEventListener('click', function () {
  choice.value = Object.keys(stored.verdicts).find(cause => stored.verdicts[cause].right);
  say('It is: ' + choice.value + '. ' + stored.verdicts[choice.value].text, stored.inks.right);
  close(); one('judge').focus();
});
one('asking').style.display = 'flex'; one('controls').style.display = 'flex';
lay(0);
}
