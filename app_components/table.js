/* A table whose rows are chosen by a click on any cell, by Enter and by Space.
   Built with textContent alone, so nothing of a dataset becomes live. */
const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 90, HEIGHT = 20;

const add = (parent, tag, name = '', text = '') => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.textContent = text;
  parent.append(made);
  return made;
};

const drawLine = (cell, values, top) => {
  if (!values.length) return;
  const svg = document.createElementNS(SVG, 'svg');
  const line = document.createElementNS(SVG, 'polyline');
  const step = WIDTH / Math.max(values.length - 1, 1);
  const points = values.map((value, at) => [at * step, HEIGHT - 1 - (HEIGHT - 2) * (value ?? 0) / top]);
  svg.setAttribute('width', WIDTH);
  svg.setAttribute('height', HEIGHT);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', values.map((value) => (value ?? 0).toFixed(2)).join(', '));
  line.setAttribute('points', points.map((point) => point.join(',')).join(' '));
  svg.append(line);
  cell.append(svg);
};

const fill = (cell, column, row) => {
  if (column.kind === 'line') {
    drawLine(cell, column.values[row] ?? [], column.top);
    return;
  }
  if (column.kind === 'bar') {
    add(cell, 'div').style.width = `${Math.max(0, Math.min(1, column.values[row] ?? 0)) * 5}rem`;
    cell.append(column.texts[row]);
    return;
  }
  cell.textContent = column.texts[row];
  if (column.kind === 'text') {
    cell.dir = 'auto';
    cell.style.minWidth = `${column.width}ch`;
  }
};

/* Rows in the order of a column; what is empty comes last either way. */
const sorted = (data, order) => {
  const places = [...Array(data.rows).keys()];
  const column = data.columns[order?.column];
  if (!column) return places;
  const values = column.values ?? column.texts;
  const empty = (place) => values[place] === null || values[place] === '';
  const compare = (one, other) => typeof values[one] === 'number'
    ? values[one] - values[other]
    : String(values[one]).localeCompare(String(values[other]));
  return places.sort((one, other) => empty(one) - empty(other)
    || (empty(one) ? 0 : (order.down ? -1 : 1) * compare(one, other)) || one - other);
};

const rowKeys = (choose) => (event) => {
  const row = event.currentTarget;
  const beside = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling,
    Home: row.parentElement.firstElementChild, End: row.parentElement.lastElementChild };
  if (event.key === 'Enter' || event.key === ' ') choose?.(row);
  else if (event.key in beside) focus(beside[event.key] ?? row);
  else return;
  event.preventDefault();
};

/* One row is a stop of the Tab key; arrow keys lead on from it. */
const focus = (row) => {
  for (const other of row.parentElement.children) other.tabIndex = -1;
  row.tabIndex = 0;
  row.focus();
};

const head = (table, data, order, sortBy) => {
  const row = add(add(table, 'thead'), 'tr');
  if (data.ticks) add(add(row, 'th', 'tick'), 'span', 'hidden', '');
  data.columns.forEach((column, place) => {
    const cell = add(row, 'th', column.kind === 'number' ? 'number' : '');
    cell.scope = 'col';
    const mark = order?.column === place ? (order.down ? ' ↓' : ' ↑') : '';
    const button = add(cell, 'button', '', column.label + mark);
    if (column.help) button.title = column.help;
    if (mark) cell.setAttribute('aria-sort', order.down ? 'descending' : 'ascending');
    button.onclick = () => sortBy(place);
  });
};

const body = (table, data, order, choose) => {
  const rows = add(table, 'tbody');
  const places = sorted(data, order);
  const stop = places.includes(data.chosen) ? data.chosen : places[0];
  for (const place of places) {
    const row = add(rows, 'tr');
    row.dataset.place = place;
    row.tabIndex = place === stop ? 0 : -1;
    if (choose) row.setAttribute('aria-selected', place === data.chosen);
    if (data.ticks) add(row, 'td', 'tick', place === data.chosen ? '✓' : '');
    data.columns.forEach((column, at) => {
      fill(add(row, 'td', column.kind + (at ? '' : ' first')), column, place);
    });
    row.onclick = () => { if (!String(document.getSelection())) choose?.(row); };
    row.onkeydown = rowKeys(choose);
  }
};

const draw = (frame, data, send) => {
  const focused = frame.getRootNode().activeElement?.dataset?.place;
  const order = frame.order;
  const table = document.createElement('table');
  table.setAttribute('role', 'grid');
  table.setAttribute('aria-label', data.alt);
  if (data.choices) table.className = 'choices';
  head(table, data, order, (column) => {
    // A number is most often looked through from the largest down.
    const first = data.columns[column].kind !== 'text';
    frame.order = { column, down: order?.column === column ? !order.down : first };
    draw(frame, data, send);
    frame.querySelectorAll('th button')[column].focus();
  });
  const choose = (row) => send('chosen', Number(row.dataset.place));
  body(table, data, order, data.choices ? choose : null);
  frame.replaceChildren(table);
  const again = focused !== undefined && frame.querySelector(`tr[data-place="${focused}"]`);
  if (again) focus(again);
};

export default function ({ data, parentElement, setTriggerValue }) {
  const frame = parentElement.querySelector('.frame');
  frame.style.setProperty('--height', `${data.height}px`);
  const { scrollTop } = frame;
  draw(frame, data, setTriggerValue);
  frame.scrollTop = scrollTop;
}
