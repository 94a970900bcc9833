/* global Reveal, RevealNotes */
// On a narrow screen a deck stays one long page: slides made to fit it would be too small to read.
if (matchMedia('(min-width: 700px)').matches) {
  Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, hash: true, transition: 'none', slideNumber: 'c/t',
    plugins: [RevealNotes],
    // In a figure to play with, the arrow keys are the figure's.
    keyboardCondition: event => !event.target.closest?.('figure.interactive'),
    keyboard: { 78: () => Reveal.configure({ showNotes: !Reveal.getConfig().showNotes }) },  // N
  });
}
