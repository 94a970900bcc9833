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
function close(words) {
  over = true;
  said.textContent = words;
  one('solved').hidden = false; one('tell').hidden = true; one('judge').hidden = true; choice.disabled = true;
}
function say(words, ink) { said.textContent = words; said.style.borderLeftColor = ink; }
function judge() {
  const found = stored.verdicts[choice.value];
  if (!found) { say('Choose a cause first.', 'transparent'); return; }
  named.add(choice.value);
  say((found.right ? 'Right. ' : 'Not this. ') + found.text, found.right ? stored.inks.right : stored.inks.wrong);
  one('tell').hidden = found.right || named.size < stored.patience;
  if (found.right) close(said.textContent + ' Found with ' + asked.size + ' of ' + asks.length
    + ' pieces of evidence, and ' + (named.size > 1 ? named.size + ' causes named.' : 'named at once.'));
}
asks.forEach(function (ask, i) { ask.addEventListener('click', function () { lay(i); }); });
one('judge').addEventListener('click', judge);
one('tell').addEventListener('click', function () {
  choice.value = Object.keys(stored.verdicts).find(cause => stored.verdicts[cause].right);
  said.style.borderLeftColor = stored.inks.right;
  close('It is: ' + choice.value + '. ' + stored.verdicts[choice.value].text);
});
one('asking').style.display = 'flex'; one('controls').style.display = 'flex';
lay(0);
}
