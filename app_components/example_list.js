/* A list of painted examples, and where it may be worked on, boxes to tick and what to do with the
   ticked ones. Built with textContent alone, so nothing of a dataset becomes live. */

const add = (parent, tag, name, text) => {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  parent.append(made);
  return made;
};
const IN_FIELD = 'input:not([type=checkbox]), textarea, select, [contenteditable=true]';

const drawAbout = (line, row) => {
  const about = add(line, 'div', 'about', '');
  add(about, 'span', '', row.gold + ' → ');
  add(about, 'b', '', row.predicted);
  const said = (row.wrong ? 'wrong' : '') + (row.wrong && row.confidence ? ', ' : '')
    + (row.confidence ? 'confidence ' + row.confidence : '');
  add(about, 'div', '', said);
  if (row.isBlank) add(about, 'div', 'small', `id ${row.id}`);
  if (row.about) add(about, 'div', 'small', row.about);
  const marks = add(about, 'div', 'marks', '');
  for (const mark of row.marks ?? []) add(marks, 'span', 'mark', mark);
};

const drawRow = (entry, row, data, open) => {
  const line = add(entry, 'div', 'row', '');
  line.tabIndex = 0;
  line.setAttribute('role', 'link');
  drawAbout(line, row);
  for (const [place, column] of row.columns.entries()) {
    const cell = add(line, 'div', 'cell', '');
    if (data.headings.length) cell.dataset.heading = data.headings[place];
    for (const pieces of column) {
      const text = add(cell, 'p', 'painted', '');
      text.dir = row.direction;
      for (const [part, name, title] of pieces) add(text, 'span', name, part).title = title;
    }
  }
  line.onclick = () => { if (!String(document.getSelection())) open(row.id); };
  line.onkeydown = (event) => {
    if (event.key !== 'Enter') return;
    open(row.id);
    event.preventDefault();
  };
};

/* What to do with the ticked rows, or with all of the filter. */
class Bulk {
  constructor(place, data, boxes, act) {
    this.data = data;
    this.boxes = boxes;
    this.act = act;
    this.isAll = false;
    this.bar = add(place, 'div', 'bulk', '');
    this.draw();
  }
  ids() { return [...this.boxes].filter(([, box]) => box.checked).map(([id]) => id); }
  send(what, value = '') {
    const chosen = this.isAll ? { all: true } : { ids: this.ids() };
    this.act({ ...chosen, edits: [[what, value]] });
  }
  button(text, onClick) {
    const made = add(this.bar, 'button', '', text);
    made.type = 'button';
    made.onclick = (event) => { if (event.detail < 2) onClick(); };
    return made;
  }
  draw() {
    const { data, boxes } = this;
    const chosen = this.isAll ? data.total : this.ids().length;
    const count = (number) => number.toLocaleString('en');
    this.bar.replaceChildren();
    const label = add(this.bar, 'label', '', '');
    const every = document.createElement('input');
    every.type = 'checkbox';
    every.checked = this.isAll || (chosen > 0 && chosen === boxes.size);
    every.indeterminate = chosen > 0 && !every.checked;
    every.onchange = () => {
      for (const box of boxes.values()) box.checked = every.checked;
      this.isAll = false;
      this.draw();
    };
    label.append(every, ' Select all on this page');
    /* It stays where it is, so that a second click meets it again and no decision. */
    if (data.total > boxes.size) {
      const whole = this.button(`Select all ${count(data.total)} that match the filter`, () => {
        for (const box of boxes.values()) box.checked = true;
        this.isAll = true;
        this.draw();
      });
      whole.setAttribute('aria-pressed', this.isAll);
    }
    if (chosen) {
      add(this.bar, 'b', '', `${count(chosen)} selected`);
      this.drawActions();
    }
    const said = add(this.bar, 'span', 'said', chosen ? '' : data.failed || data.said);
    said.setAttribute('role', 'status');
    if (!chosen && data.canUndo) this.button('Undo', () => this.act({ undo: true }));
  }
  drawActions() {
    const { data } = this;
    if (data.labels.length) {
      const labels = add(this.bar, 'select', '', '');
      labels.setAttribute('aria-label', 'Set label');
      for (const name of ['', ...data.labels]) {
        const option = add(labels, 'option', '', name || 'Set label …');
        option.value = name;
      }
      labels.onchange = () => { if (labels.value) this.send('label', labels.value); };
      this.button('Label is right', () => this.send('right'));
    }
    this.button('Mark as reviewed', () => this.send('reviewed'));
    for (const [what, name] of [['tag', 'Add tag'], ['untag', 'Remove tag']]) {
      if (what === 'untag' && !data.tags.length) continue;
      const tag = add(this.bar, 'input', '', '');
      tag.placeholder = `${name}, then Enter`;
      tag.setAttribute('aria-label', name);
      tag.onkeydown = (event) => {
        if (event.key === 'Enter' && tag.value.trim()) this.send(what, tag.value.trim());
      };
    }
  }
}

const goTo = (root, by) => {
  const rows = [...root.querySelectorAll('.row')];
  const at = rows.indexOf(root.getRootNode().activeElement);
  const to = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
  to?.focus();
  return Boolean(to);
};

const keysOf = (root, boxes, isWorkedOn) => (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const path = event.composedPath();
  if (path[0].matches?.(IN_FIELD)) return;
  const row = path.find((one) => one.classList?.contains('row'));
  const isMine = path.includes(root);
  const steps = { j: isWorkedOn && 1, k: isWorkedOn && -1, ArrowDown: isMine && 1, ArrowUp: isMine && -1 };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (steps[key]) goTo(root, steps[key]);
  else if (key === 'x' && isMine && row && boxes.size) row.previousElementSibling.click();
  else return;
  event.preventDefault();
};

const listeners = new WeakMap();
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.rows');
  root.style.setProperty('--columns', data.width);
  const all = document.createDocumentFragment();
  const boxes = new Map();
  let bulk = null;
  if (data.bulk) bulk = new Bulk(all, data.bulk, boxes, (value) => setTriggerValue('act', value));
  if (data.headings.length) {
    const heads = add(all, 'div', 'heads', '');
    for (const heading of ['', ...data.headings]) add(heads, 'div', '', heading);
  }
  for (const row of data.rows) {
    const entry = add(all, 'div', bulk ? 'entry ticked' : 'entry', '');
    if (bulk) {
      const box = add(entry, 'input', '', '');
      box.type = 'checkbox';
      box.setAttribute('aria-label', `Choose ${row.id}`);
      box.onchange = () => { bulk.isAll = false; bulk.draw(); };
      boxes.set(row.id, box);
    }
    drawRow(entry, row, data, (id) => setTriggerValue('open', id));
  }
  if (bulk) bulk.draw();
  root.replaceChildren(all);
  document.removeEventListener('keydown', listeners.get(root));
  listeners.set(root, keysOf(root, boxes, Boolean(bulk)));
  document.addEventListener('keydown', listeners.get(root));
  return () => document.removeEventListener('keydown', listeners.get(root));
}
