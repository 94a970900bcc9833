// Start a figure once its data is there. In a notebook it stands in the figure; the rendered book keeps what is long in
// a file of its own, which is fetched when a reader comes near.
function start(figure, play) {
const go = stored => play(figure, stored, figure.querySelector('output'));
const data = figure.querySelector('script[type="application/json"]'), file = data.dataset.file;
if (!file) go(JSON.parse(data.textContent));
else new IntersectionObserver(function (seen, observer) {
  if (!seen.some(one => one.isIntersecting)) return;
  observer.disconnect();
  const script = document.createElement('script');
  script.src = file; script.onload = function () { go(window.figureData[file]); };
  document.head.append(script);
}, { rootMargin: '800px' }).observe(figure);
}
