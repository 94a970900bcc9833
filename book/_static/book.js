// What a term means, shown where the pointer or the keyboard rests on a link to the glossary.
// Without this script the link leads to the glossary all the same.
document.addEventListener('DOMContentLoaded', function () {
  const tip = document.createElement('div');
  let leaving = 0;

  function meaning(link) {
    const term = decodeURIComponent(link.hash).slice(1);
    return /glossary\.html$/.test(link.pathname) && (window.TERMS || {})[term];
  }

  function show(link) {
    clearTimeout(leaving);
    tip.textContent = meaning(link);
    tip.hidden = false;
    link.setAttribute('aria-describedby', tip.id);
    const place = link.getBoundingClientRect();
    const left = Math.min(place.left, document.documentElement.clientWidth - tip.offsetWidth - 12);
    const above = place.bottom + tip.offsetHeight + 12 > window.innerHeight;
    tip.style.left = Math.max(8, left) + window.scrollX + 'px';
    tip.style.top = (above ? place.top - tip.offsetHeight - 6 : place.bottom + 6) + window.scrollY + 'px';
  }

  function hide() {
    tip.hidden = true;
    for (const link of document.querySelectorAll('[aria-describedby="term-tip"]'))
      link.removeAttribute('aria-describedby');
  }

  // A moment's patience lets the pointer move onto the text, to read or to copy it.
  function leave() { clearTimeout(leaving); leaving = setTimeout(hide, 250); }

  tip.id = 'term-tip';
  tip.setAttribute('role', 'tooltip');
  tip.hidden = true;
  document.body.append(tip);
  tip.addEventListener('pointerenter', () => clearTimeout(leaving));
  tip.addEventListener('pointerleave', leave);
  document.addEventListener('keydown', event => { if (event.key === 'Escape') hide(); });
  for (const link of document.querySelectorAll('.bd-article a[href*="#term-"]')) {
    if (!meaning(link)) continue;
    link.addEventListener('pointerenter', event => { if (event.pointerType !== 'touch') show(link); });
    link.addEventListener('pointerleave', leave);
    link.addEventListener('focus', () => show(link));
    link.addEventListener('blur', leave);
  }
});
