// How figures are written, and how they come into the page: as text, never as HTML.

export const NONE = "–";

export function rate(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 1000) return Math.round(value).toLocaleString("en");
  return value.toFixed(value >= 100 ? 0 : 1);
}

export function whole(value) {
  return value === null || value === undefined ? NONE : value.toLocaleString("en");
}

export function micros(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1000) return `${value.toFixed(0)} µs`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} ms`;
  return `${(value / 1e6).toFixed(1)} s`;
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let scaled = value / 1024;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${scaled.toFixed(1)} ${units[unit]}`;
}

export function age(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export function clock(timestamp) {
  return new Date(timestamp * 1000).toISOString().slice(11, 19);
}

/** Set text only where it differs: what is selected stays so, and nobody is told of what did not change. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Make a table's body show rows of cells; a cell is text, or an object of text, kind and title. */
export function fill(body, rows) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, at) => {
    const row = body.rows[at] ?? body.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach((given, place) => put(row, place, typeof given === "object" ? given : { text: given }));
  });
}

function put(row, place, cell) {
  let node = row.cells[place];
  if (node === undefined) {
    node = document.createElement(cell.head ? "th" : "td");
    if (cell.head) node.scope = "row";
    row.append(node);
  }
  say(node, cell.text);
  if (node.className !== (cell.kind ?? "")) node.className = cell.kind ?? "";
  if (node.title !== (cell.title ?? "")) node.title = cell.title ?? "";
}
