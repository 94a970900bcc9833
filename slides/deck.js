/* global Reveal */
const KEYS = {
  ArrowRight: 'next', ArrowDown: 'next', PageDown: 'next', ' ': 'next',
  ArrowLeft: 'prev', ArrowUp: 'prev', PageUp: 'prev',
};
const speaker = { window: null, since: 0 };

// The window is written from here: reveal.js's own would have to load the deck, and a file may not talk to a file.
function openNotes() {
  speaker.window = open('', 'notes', 'width=900,height=700');
  if (!speaker.window) { toggleNotes(); return; }  // the browser allows no window
  speaker.since ||= Date.now();
  speaker.window.onkeydown = event => { if (event.key in KEYS) Reveal[KEYS[event.key]](); };
  tell();
}

function toggleNotes() {
  Reveal.configure({ showNotes: !Reveal.getConfig().showNotes });
  Reveal.layout();
}

function tell() {
  const page = speaker.window?.document;
  if (!page) return;
  const slides = Reveal.getSlides(), { h } = Reveal.getIndices(), heading = slides[h + 1]?.querySelector('h1, h2');
  const planned = slides.slice(0, h).reduce((sum, slide) => sum + Number(slide.dataset.minutes), 0);
  const passed = Math.floor((Date.now() - speaker.since) / 60000);
  page.documentElement.lang = 'en';
  page.title = 'Notes';
  page.body.style = 'font: 24px/1.4 system-ui, sans-serif; margin: 30px';
  page.body.innerHTML = `<h1>${slides[h].querySelector('h1, h2').innerHTML}</h1>
    ${slides[h].querySelector('aside').innerHTML}
    <p>Next: ${heading ? heading.innerHTML : 'the end'}</p>
    <p>Slide ${h + 1} of ${slides.length}. Planned to begin after ${planned} minutes; ${passed} have passed.</p>`;
}

// On a narrow screen a deck stays one long page: slides made to fit it would be too small to read.
if (matchMedia('(min-width: 700px)').matches) {
  Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, hash: true, transition: 'none', slideNumber: 'c/t',
    keyboard: { 78: toggleNotes, 83: openNotes },  // N and S
  });
  Reveal.on('slidechanged', tell);
  setInterval(tell, 10000);
}
