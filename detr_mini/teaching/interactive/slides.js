function play(figure, stored, said) {
const image = figure.querySelector('img'), input = figure.querySelector('input'), alt = image.alt;
figure.querySelector('label').style.display = 'flex';
// The rendered book keeps the pictures in files: they are asked for when a reader comes near the figure.
const near = () => { stored.ahead = stored.ahead || stored.frames.map(frame => {
  const picture = new Image(); picture.src = frame; return picture; }); };
figure.addEventListener('pointerenter', near); figure.addEventListener('focusin', near);
input.addEventListener('input', function () {
  const label = stored.labels[input.value];
  image.src = stored.frames[input.value]; image.alt = alt + ' Now: ' + label + '.';
  said.textContent = label; input.setAttribute('aria-valuetext', label);
});
}
