/* Reads keys at once and shows their effect at once; Python is told behind that, and says what it
   stored. What it has not acknowledged is kept in the tab's session storage, so neither a slow
   answer nor leaving the page loses a decision. Texts become nodes by textContent alone. */

const make = (parent, tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
};
const button = (parent, name, text, key, onClick) => {
  const made = make(parent, 'button', name, '');
  made.type = 'button';
  if (key) make(made, 'kbd', '', key).ariaHidden = 'true';
  make(made, 'span', '', text);
  made.onclick = onClick;
  return made;
};
const KEYS = [
  ['1 – 9', 'the correct label is the one with this number'],
  ['L', 'type the correct label'],
  ['0', 'the label is right'],
  ['S', 'skip'],
  ['N', 'write a note'],
  ['T', 'add a tag'],
  ['U', 'undo'],
  ['J or →', 'next'],
  ['K or ←', 'previous'],
  ['Esc', 'leave a field'],
  ['?', 'show or hide this list'],
];
const NUMBERED = 9;
const MATCHES = 8;
const RETRY_MS = 5000;
const MARKS = ['decision', 'label', 'note', 'tags'];
const IN_FIELD = 'input, textarea, select, [contenteditable=true]';
const ARROWS = { ArrowRight: 'j', ArrowLeft: 'k' };
/* What arrow keys move by themselves. */
const WITH_ARROWS = `${IN_FIELD}, table, ${['slider', 'radio', 'radiogroup', 'tab', 'tablist', 'menu',
  'listbox', 'combobox', 'spinbutton', 'grid', 'dialog'].map((role) => `[role=${role}]`).join(', ')}`;
const HAS_KEYS = !matchMedia('(pointer: coarse)').matches;

/* What survives the page: edits on their way, and notes not yet saved. */
const read = (key, missing) => {
  try { return JSON.parse(sessionStorage.getItem(key)) ?? missing; } catch { return missing; }
};
const write = (key, value) => {
  try {
    if (value === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(value));
  } catch { /* No storage: what is on its way is still sent. */ }
};
const keepWaiting = (store, edits) => write(`${store}waiting`, edits.length ? edits : null);
const left = (store) => {
  const edits = read(`${store}waiting`, []), notes = `${store}note `;
  for (const key of Object.keys(sessionStorage).filter((one) => one.startsWith(notes))) {
    const id = key.slice(notes.length);
    edits.push({ uid: crypto.randomUUID(), id, edits: [['note', read(key, '').trim()]] });
    write(key, null);
  }
  keepWaiting(store, edits);
  return edits;
};
const without = (edits, stored) => edits.filter((one) => !stored.includes(one.uid));

class Panel {
  constructor(root, data) {
    this.root = root;
    this.rows = new Map();
    this.order = [];
    this.store = `review ${data.name} `;
    this.turn = data.turn;
    this.history = [];
    this.held = [];
    this.isHeld = false;
    this.waiting = left(this.store);
    this.onKey = this.onKey.bind(this);
    this.onPress = (event) => { this.pressed = event.composedPath(); };
    this.onLeave = (event) => { if (this.waiting.length) event.preventDefault(); };
    this.build(data);
  }

  /* Between Python and here */

  update(data) {
    const isFirst = !this.data;
    this.data = data;
    this.waiting = without(this.waiting, data.acked);
    keepWaiting(this.store, this.waiting);
    const ids = data.rows.map((row) => row.id);
    for (const row of data.rows) this.rows.set(row.id, row);
    for (const one of this.waiting) if (one.edits) this.mark(this.rows.get(one.id), one.edits);
    const isSettled = data.turn >= this.turn;
    if (isSettled) { this.turn = data.turn; this.show(data.at); }
    if (isSettled || ids.includes(this.at)) { this.order = ids; this.first = data.first; }
    if (isFirst && this.waiting.length) this.flush();
    if (this.isLeft) { this.isLeft = false; this.saveNote(); }
    if (this.isHeld && isSettled) {
      this.isHeld = false;
      const held = this.held.splice(0);
      for (const key of held) this.press(key);
    }
    this.draw();
  }
  flush() {
    keepWaiting(this.store, this.waiting);
    // A state, which unlike a trigger goes along when the page is left in the same moment.
    this.emit('sent', { turn: this.turn, at: this.at, edits: this.waiting, again: Date.now() });
    clearTimeout(this.retry);
    this.retry = setTimeout(() => { if (this.waiting.length) this.flush(); }, RETRY_MS);
  }

  /* What keys and buttons do */

  row() { return this.rows.get(this.at); }
  noteKey(id) { return `${this.store}note ${id}`; }
  show(id) {
    if (id === this.at) return;
    this.at = id;
    const row = this.row();
    if (row) this.note.value = read(this.noteKey(id), row.note);
    this.typed.value = '';
    this.tag.value = '';
    this.matches.replaceChildren();
  }
  mark(row, edits) {
    if (!row) return;
    for (const [what, value] of edits) {
      if (what === 'note') row.note = value;
      else if (what === 'tag') row.tags = [...new Set([...row.tags, value])];
      else if (what === 'untag') row.tags = row.tags.filter((one) => one !== value);
      else if (what !== 'skipped' || !row.decision) {
        row.decision = what === 'open' ? null : what;
        row.label = what === 'label' ? value : null;
      }
    }
  }
  act(edits) {
    const row = this.row();
    const one = { uid: crypto.randomUUID(), id: row.id, edits };
    if (edits[0][0] === 'note') one.was = row.note;
    const before = Object.fromEntries(MARKS.map((name) => [name, row[name]]));
    this.history.push({ uid: one.uid, id: row.id, before });
    this.waiting.push(one);
    this.mark(row, edits);
  }
  saveNote() {
    const row = this.row(), note = this.note.value.trim();
    if (row) write(this.noteKey(row.id), null);
    if (!row || note === row.note) return;
    this.act([['note', note]]);
    this.flush();
  }
  leaveNote() {
    // A click on a link leaves the page too, and what is sent between the two calls it back.
    const isAway = this.pressed?.some((one) => one.matches?.('a, button'))
      && !this.pressed.includes(this.root);
    this.isLeft = isAway;
    if (isAway) return;
    this.saveNote();
    this.draw();
  }
  decide(what, value = '') {
    if (what === 'label' && value === this.row().gold) this.act([['right', '']]);
    else this.act([[what, value]]);
    if (!this.move(1, true)) this.flush();
    this.draw();
  }
  move(by, isQuiet = false) {
    this.saveNote();
    const place = this.order.indexOf(this.at);
    const to = this.order[place + by];
    const number = this.data.first + place + by;
    const isThere = place >= 0 && this.data.first !== null && number >= 0 && number < this.data.total;
    if (to !== undefined && isThere) {
      this.show(to);
    } else if (isThere) {
      // Not here yet: what is pressed meanwhile waits for it.
      this.isHeld = true;
      this.held.push(by > 0 ? 'j' : 'k');
    } else {
      if (!isQuiet) this.say(by > 0 ? 'This is the last example.' : 'This is the first example.');
      return false;
    }
    this.turn += 1;
    this.flush();
    this.draw();
    return true;
  }
  undo() {
    const last = this.history.pop();
    if (last) {
      const row = this.rows.get(last.id);
      if (row) Object.assign(row, last.before);
      write(this.noteKey(last.id), null);
      if (this.at === last.id) this.note.value = last.before.note;
      this.show(last.id);
      this.turn += 1;
    }
    this.waiting.push(
      { uid: crypto.randomUUID(), undo: last ? last.uid : null, id: last ? last.id : null });
    this.flush();
    this.draw();
  }
  press(key) {
    if (this.isHeld) { this.held.push(key); return true; }
    const number = Number(key);
    const { labels } = this.data;
    if (key === '?') this.keys.toggleAttribute('hidden');
    else if (key === 'Escape' && !this.keys.hidden) this.keys.hidden = true;
    else if (key === 'j') this.move(1);
    else if (key === 'k') this.move(-1);
    else if (key === 'u') this.undo();
    else if (!this.row()) return false;
    else if (key === '0') this.decide('right');
    else if (key === 's') this.decide('skipped');
    else if (key === 'n') this.note.focus();
    else if (key === 't') this.tag.focus();
    else if (key === 'l' && labels.length) this.typed.focus();
    else if (labels.length > NUMBERED && number >= 1 && number <= NUMBERED) this.typed.focus();
    else if (labels[number - 1] !== undefined && key !== '') this.decide('label', labels[number - 1]);
    else return false;
    return true;
  }
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const path = event.composedPath();
    const field = path[0];
    this.pressed = null;
    if (field.matches?.(IN_FIELD) && field.type !== 'range') {
      if (event.key === 'Escape' && path.includes(this.root)) field.blur();
      return;
    }
    const isArrow = ARROWS[event.key] && !event.shiftKey
      && !path.some((one) => one.matches?.(WITH_ARROWS));
    const key = isArrow ? ARROWS[event.key]
      : event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.repeat && key !== 'j' && key !== 'k') return;
    if (this.press(key)) event.preventDefault();
  }

  /* What is seen */

  build(data) {
    const { root } = this;
    root.replaceChildren();
    const reading = make(root, 'div', 'reading', '');
    this.head = make(reading, 'div', 'head', '');
    this.texts = make(reading, 'div', 'texts', '');
    const panel = make(root, 'div', 'panel', '');
    panel.setAttribute('role', 'group');
    panel.setAttribute('aria-label', 'Review');
    const steps = make(panel, 'div', 'line', '');
    this.previous = button(steps, '', 'Previous', 'K', () => this.move(-1));
    this.next = button(steps, '', 'Next', 'J', () => this.move(1));
    this.place = make(steps, 'span', 'small', '');
    this.correct = make(panel, 'div', 'correct', '');
    this.labels = make(panel, 'div', 'line', '');
    this.typed = make(panel, 'input', 'typed', '');
    this.typed.placeholder = HAS_KEYS ? 'Type a label (L)' : 'Type a label';
    this.typed.setAttribute('aria-label', 'Correct label');
    this.typed.hidden = data.labels.length <= NUMBERED;
    this.matches = make(panel, 'div', 'line', '');
    this.typed.oninput = () => this.match();
    this.typed.onkeydown = (event) => {
      const first = this.matches.querySelector('button');
      if (event.key === 'Enter' && first) { this.typed.blur(); first.click(); }
    };
    if (data.labels.length <= NUMBERED) data.labels.forEach((label, place) => {
      button(this.labels, 'label', label, String(place + 1), () => this.decide('label', label))
        .dataset.label = label;
    });
    const acts = make(panel, 'div', 'line', '');
    this.right = button(acts, '', 'Label is right', '0', () => this.decide('right'));
    button(acts, '', 'Skip', 'S', () => this.decide('skipped'));
    const note = make(panel, 'label', 'field', 'Your note');
    this.note = make(note, 'textarea', '', '');
    this.note.rows = 2;
    this.note.placeholder = HAS_KEYS ? 'Press N to write' : '';
    this.note.oninput = () => write(this.noteKey(this.at), this.note.value);
    this.note.onblur = () => this.leaveNote();
    this.tags = make(panel, 'div', 'line', '');
    const tag = make(panel, 'label', 'field', 'Tags');
    this.tag = make(tag, 'input', '', '');
    this.tag.placeholder = HAS_KEYS ? 'Press T, type a tag, then Enter' : 'Add a tag';
    this.tag.onkeydown = (event) => {
      const value = this.tag.value.trim();
      if (event.key !== 'Enter' || !value) return;
      this.tag.value = '';
      this.act([['tag', value]]);
      this.flush();
      this.draw();
    };
    const end = make(panel, 'div', 'line', '');
    button(end, '', 'Save note', '', () => { this.saveNote(); this.draw(); });
    button(end, 'quiet', 'Shortcuts', '?', () => this.keys.toggleAttribute('hidden'));
    this.keys = make(panel, 'dl', 'keys', '');
    this.keys.hidden = true;
    for (const [key, does] of KEYS) {
      make(make(this.keys, 'dt', '', ''), 'kbd', '', key);
      make(this.keys, 'dd', '', does);
    }
    const outcome = make(panel, 'div', 'line outcome', '');
    this.status = make(outcome, 'div', 'said', '');
    this.status.setAttribute('role', 'status');
    this.older = button(outcome, '', 'Open Errors', '', () => this.leave('older', true));
    button(outcome, '', 'Undo', 'U', () => this.undo());
    this.counts = make(panel, 'div', 'small', '');
  }
  match() {
    const typed = this.typed.value.trim().toLowerCase();
    const rank = (label) => label.toLowerCase().indexOf(typed);
    const found = this.data.labels.filter((label) => rank(label) >= 0)
      .sort((a, b) => rank(a) - rank(b)).slice(0, typed ? MATCHES : 0);
    this.matches.replaceChildren();
    for (const label of found) {
      button(this.matches, 'label', label, '', () => this.decide('label', label));
    }
  }
  say(text, isWrong = false) {
    this.status.textContent = text;
    this.status.classList.toggle('failed', isWrong);
  }
  draw() {
    const { data } = this;
    const row = this.row();
    this.root.classList.toggle('waiting', !row);
    this.drawText(row);
    const gold = row ? row.gold : '';
    this.correct.replaceChildren();
    make(this.correct, 'span', 'small', 'Correct label: ');
    const isNew = row?.decision === 'label' && row.label !== gold;
    make(this.correct, 'b', '', isNew ? row.label : gold);
    make(this.correct, 'span', '', isNew ? ` (was ${gold})` : ' (unchanged)');
    const decided = { right: 'label is right', label: isNew ? 'relabelled' : 'label is right' };
    const mark = row?.decision && (decided[row.decision] || row.decision);
    if (mark) make(this.correct, 'span', `badge ${row.decision}`, mark);
    for (const one of this.labels.children) {
      const isChosen = row?.decision === 'label' && one.dataset.label === row.label;
      one.setAttribute('aria-pressed', String(isChosen));
    }
    this.right.setAttribute('aria-pressed', String(row?.decision === 'right'));
    const isTyping = this.root.getRootNode().activeElement === this.note;
    if (row && !isTyping && read(this.noteKey(row.id), null) === null) this.note.value = row.note;
    this.tags.replaceChildren();
    for (const name of row ? row.tags : []) {
      const off = button(this.tags, 'badge', `${name} ×`, '', () => {
        this.act([['untag', name]]);
        this.flush();
        this.draw();
      });
      off.setAttribute('aria-label', `Remove the tag ${name}`);
    }
    this.drawPlace();
    const { progress } = data;
    this.counts.textContent = progress.text;
    this.older.hidden = !data.hasOlder || Boolean(data.failed) || this.waiting.length > 0;
    if (data.failed) this.say(data.failed, true);
    else if (this.waiting.length) this.say('Saving …');
    else this.say(data.said);
  }
  drawText(row) {
    if (!row) {
      this.drawn = null;
      this.head.textContent = 'Loading more examples …';
      this.texts.replaceChildren();
      return;
    }
    const shown = JSON.stringify([row.gold, row.predicted, row.percent, row.about, row.columns[0]]);
    if (this.drawn === shown) return;
    this.drawn = shown;
    this.head.replaceChildren();
    if (row.wrong) make(this.head, 'span', '', `${row.gold} → `);
    make(this.head, 'b', row.wrong ? 'wrong' : '', row.predicted);
    const known = row.wrong ? [] : [row.gold === row.predicted ? 'right' : `label: ${row.gold}`];
    make(this.head, 'span', '', [row.percent, ...known].filter(Boolean).map((x) => ` · ${x}`).join(''));
    this.texts.replaceChildren();
    const [texts] = row.columns;
    for (const [side, pieces] of texts.entries()) {
      if (texts.length > 1) make(this.texts, 'div', 'small', ['First text', 'Second text'][side]);
      const text = make(this.texts, 'p', 'painted', '');
      text.dir = row.direction;
      for (const [part, name, title] of pieces) make(text, 'span', name, part).title = title;
    }
    if (row.about) make(this.texts, 'div', 'small', row.about);
  }
  drawPlace() {
    const place = this.order.indexOf(this.at);
    const { data } = this;
    const isIn = place >= 0 && data.first !== null;
    const number = data.first + place;
    this.previous.disabled = !isIn || number <= 0;
    this.next.disabled = !isIn || number + 1 >= data.total;
    const count = (value) => value.toLocaleString('en');
    this.place.textContent = isIn
      ? `${count(number + 1)} of ${count(data.total)}${data.named}` : 'This example does not match the filter.';
  }
}

/* On the other pages: sends what a panel that was left had still to send, each edit once. */
const sentOn = new WeakMap();
const sendLeft = (parent, data, emit) => {
  const found = {};
  for (const name of data.left) {
    const store = `review ${name} `;
    const edits = without(left(store), data.acked);
    keepWaiting(store, edits);
    if (edits.length) found[name] = edits;
  }
  const sent = JSON.stringify(found);
  if (!Object.keys(found).length || sentOn.get(parent) === sent) return;
  sentOn.set(parent, sent);
  emit('sent', { left: found, again: Date.now() });
};

const panels = new WeakMap();
export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  if (data.left) {
    sendLeft(parentElement, data, setStateValue);
    return undefined;
  }
  const root = parentElement.querySelector('.review');
  let panel = panels.get(root);
  if (!panel) panels.set(root, (panel = new Panel(root, data)));
  panel.emit = setStateValue;
  panel.leave = setTriggerValue;
  panel.update(data);
  document.addEventListener('keydown', panel.onKey);
  document.addEventListener('pointerdown', panel.onPress, true);
  window.addEventListener('beforeunload', panel.onLeave);
  return () => {
    document.removeEventListener('keydown', panel.onKey);
    document.removeEventListener('pointerdown', panel.onPress, true);
    window.removeEventListener('beforeunload', panel.onLeave);
    clearTimeout(panel.retry);
  };
}
