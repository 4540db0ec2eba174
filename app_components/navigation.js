/* One history entry a change, what opens at its top, and Back to where the reader was.

   Streamlit puts several addresses into the history on the way from one page to another: of the
   page that is left, of the next one without its filter, and the whole one. So an address that
   the server has not named whole is replaced by the one that follows. */
const HOLD = 10000;
/* Milliseconds a page is held at its place while what it shows arrives, unless the reader moves. */
const MOVES = ['wheel', 'touchstart', 'pointerdown', 'keydown'];

const main = () => document.querySelector('[data-testid=stMain]');
const subject = (url) => `${url.pathname}?${url.searchParams.get('id')}`;

/* Streamlit asks a reader whose server has stopped for the internet. */
const mendDialogs = (command) => {
  for (const part of document.querySelectorAll('[data-testid=stDialog] *')) {
    if (part.children.length) continue;
    if (part.textContent === 'Connection error') part.textContent = 'The dashboard has stopped';
    else if (part.textContent.includes('server is not responding')) {
      part.textContent = `Start it again as before, for example with “${command}”. `
        + 'This page then comes back by itself.';
    }
  }
};

const start = (command) => {
  new MutationObserver(() => mendDialogs(command)).observe(document.body, { childList: true });
  const whole = new Set(), places = new Map();
  const push = history.pushState.bind(history), replace = history.replaceState.bind(history);
  let entries = Date.now(), held = null, until = 0;

  const holdAt = (top) => {
    held = top;
    until = performance.now() + HOLD;
    keep();
  };
  const keep = () => {
    if (held === null) return;
    if (performance.now() > until) held = null;
    else {
      if (main() && main().scrollTop !== held) main().scrollTop = held;
      setTimeout(keep, 50);
    }
  };
  for (const move of MOVES) {
    addEventListener(move, () => { held = null; }, { capture: true, passive: true });
  }
  addEventListener('scroll', (event) => {
    const page = main(), entry = history.state?.entry;
    if (held !== null || event.target !== page) return;
    // Upwards and at the end: the page grew shorter, as when it is being left; nobody moved it.
    const isAtEnd = page.scrollTop >= page.scrollHeight - page.clientHeight - 1;
    if (isAtEnd && page.scrollTop < (places.get(entry) ?? 0)) return;
    places.set(entry, page.scrollTop);
  }, { capture: true, passive: true });
  addEventListener('popstate', () => holdAt(places.get(history.state?.entry) ?? 0));

  history.pushState = (state, title, url) => {
    const next = new URL(url ?? location.href, location.href);
    const opens = subject(next) !== subject(new URL(location.href));
    if (whole.has(location.href)) push({ ...state, entry: entries += 1 }, title, url);
    else replace({ ...state, entry: history.state?.entry ?? (entries += 1) }, title, url);
    if (opens) holdAt(0);
  };
  history.replaceState = (state, title, url) => replace({ ...history.state, ...state }, title, url);
  return { whole };
};

/* Streamlit's list of pages holds what is no item of a list; read as links alone it is right. */
const mendList = () => {
  for (const part of document.querySelectorAll('[data-testid=stSidebarNav] :is(ul, li)')) {
    part.setAttribute('role', 'presentation');
  }
};

export default function ({ data }) {
  mendList();
  window.readersPlace ??= start(data.command);
  // What was drawn for a page that has been left says nothing of the one that is there now.
  if (location.pathname.split('/').pop() !== data.page) return;
  const asked = new URLSearchParams(location.search).toString();
  if (asked !== new URLSearchParams(data.query).toString()) {
    history.replaceState({}, '', location.pathname + (data.query && `?${data.query}`));
  }
  window.readersPlace.whole.add(location.href);
}
