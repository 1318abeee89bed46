// The topology: services as boxes in their processes, contracts as lines. The server says which layer each stands in;
// here layers become columns, or rows where the page is narrow. What is drawn stays, and only texts change, as long
// as the same services stand at the same places.

import { judge } from "/tables.js";
import { micros, rate, say } from "/text.js";

const BOX = 216;
const HEAD = 48; // name, and state with rate
const ROW = 18; // a contract that the service publishes
const FOOT = 8;
const PAD = 12;
const TITLE = 24; // the name of the process
const GAP = 14;
const GUTTER = 84; // between columns, for the lines
const INNER = 60; // between columns of one process
const SIDE = 46; // for the lines beside the boxes of a narrow page
const LONGEST = 27;
const MARKS = { good: "●", wait: "◐", bad: "✕" };

let drawn = null;

export function showGraph(place, picture) {
  const narrow = matchMedia("(max-width: 760px)").matches;
  const width = narrow ? Math.max(280, place.clientWidth) : 0;
  const shape = JSON.stringify([width, picture.groups, picture.services.map((one) => one.publishes), picture.edges.map(key)]);
  if (drawn?.shape !== shape) {
    const services = new Map(picture.services.map((one) => [one.name, one]));
    const layout = narrow ? stacked(picture.groups, services, width) : sideBySide(picture.groups, services);
    drawn = { shape, ...draw(layout, picture, services, narrow) };
    place.replaceChildren(drawn.svg);
  }
  update(picture);
}

const key = (edge) => [edge.source, edge.contract, edge.target].join(" ");
const heightOf = (service) => HEAD + service.publishes.length * ROW + FOOT;

/** Columns from left to right. */
function sideBySide(layers, services) {
  const boxes = new Map();
  const groups = [];
  let x = 1;
  let height = 0;
  for (const layer of layers) {
    let y = 1;
    let widest = 0;
    for (const group of layer) {
      const tallest = Math.max(...group.layers.map((column) => stackHeight(column, services)));
      const inside = group.layers.length * BOX + (group.layers.length - 1) * INNER;
      group.layers.forEach((column, at) => {
        let top = y + TITLE + (tallest - stackHeight(column, services)) / 2;
        for (const name of column) {
          const tall = heightOf(services.get(name));
          boxes.set(name, { x: x + PAD + at * (BOX + INNER), y: top, width: BOX, height: tall });
          top += tall + GAP;
        }
      });
      const rect = { x, y, width: inside + 2 * PAD, height: TITLE + tallest + PAD };
      groups.push({ process: group.process, ...rect });
      y += rect.height + GAP;
      widest = Math.max(widest, rect.width);
    }
    height = Math.max(height, y - GAP);
    x += widest + GUTTER;
  }
  return { boxes, groups, width: x - GUTTER + 1, height: height + 1 };
}

function stackHeight(column, services) {
  return column.reduce((sum, name) => sum + heightOf(services.get(name)) + GAP, -GAP);
}

/** All below one another, with room for the lines at the right. */
function stacked(layers, services, width) {
  const boxes = new Map();
  const groups = [];
  let y = 1;
  for (const group of layers.flat()) {
    const top = y;
    y += TITLE;
    for (const name of group.layers.flat()) {
      const height = heightOf(services.get(name));
      boxes.set(name, { x: 1 + PAD, y, width: width - SIDE - 2 * PAD, height });
      y += height + GAP;
    }
    groups.push({ process: group.process, x: 1, y: top, width: width - SIDE, height: y - GAP + PAD - top });
    y += PAD;
  }
  return { boxes, groups, width, height: y };
}

function draw(layout, picture, services, narrow) {
  const svg = make("svg", { viewBox: `0 0 ${layout.width} ${layout.height}`, width: layout.width, height: layout.height });
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", "Services in their processes, and what flows between them");
  const titles = new Map();
  for (const group of layout.groups) {
    const node = make("g", { class: "process" });
    node.append(make("rect", { x: group.x, y: group.y, width: group.width, height: group.height, rx: 6 }));
    const title = make("text", { x: group.x + PAD, y: group.y + 16 });
    node.append(title);
    svg.append(node);
    titles.set(group.process, { node, title });
  }
  const lines = drawLines(svg, layout, picture.edges, services, narrow);
  const boxes = new Map();
  for (const [name, box] of layout.boxes) {
    const drawing = drawBox(services.get(name), box);
    for (const [event, on] of [["focus", true], ["blur", false], ["mouseenter", true], ["mouseleave", false]]) {
      drawing.node.addEventListener(event, () => light(svg, lines, name, on));
    }
    svg.append(drawing.node);
    boxes.set(name, drawing);
  }
  return { svg, titles, lines, boxes };
}

/** Every line begins at the row of its contract and ends at the side of its reader. */
function drawLines(svg, layout, edges, services, narrow) {
  const arrivals = new Map();
  for (const edge of edges) arrivals.set(edge.target, [...(arrivals.get(edge.target) ?? []), edge]);
  return edges
    .filter((edge) => layout.boxes.has(edge.source) && layout.boxes.has(edge.target))
    .map((edge) => {
      const from = layout.boxes.get(edge.source);
      const to = layout.boxes.get(edge.target);
      const arriving = arrivals.get(edge.target);
      const share = (arriving.indexOf(edge) + 1) / (arriving.length + 1);
      const x1 = from.x + from.width;
      const y1 = from.y + HEAD + services.get(edge.source).publishes.indexOf(edge.contract) * ROW + ROW / 2 - 4;
      const x2 = narrow ? to.x + to.width : to.x;
      const y2 = to.y + 8 + share * (to.height - 16);
      const reach = narrow ? PAD + SIDE * (0.25 + 0.85 * Math.min(1, Math.abs(y2 - y1) / layout.height)) : 0;
      const bend = Math.max(40, Math.abs(x2 - x1) / 2);
      const path = narrow
        ? `M${x1} ${y1} C${x1 + reach} ${y1} ${x2 + reach} ${y2} ${x2} ${y2}`
        : `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
      const node = make("path", { d: path, class: "line" });
      const end = make("circle", { cx: x2, cy: y2, r: 2.5, class: "end" });
      svg.append(node, end);
      return { ...edge, node, end };
    });
}

function drawBox(service, box) {
  const node = make("g", { class: "service", tabindex: 0, role: "img" });
  node.dataset.service = service.name;
  node.append(make("rect", { x: box.x, y: box.y, width: box.width, height: box.height, rx: 4 }));
  const left = box.x + 10;
  const right = box.x + box.width - 10;
  const write = (x, y, kind) => {
    const text = make("text", { x, y: box.y + y, class: kind });
    node.append(text);
    return text;
  };
  const name = write(left, 18, "name");
  say(name, service.name.length > LONGEST ? `${service.name.slice(0, LONGEST - 1)}…` : service.name);
  const state = write(left, 35, "state");
  const figures = write(right, 35, "figure end-text");
  const rows = service.publishes.map((contract, at) => {
    const y = HEAD + at * ROW + 9;
    say(write(left, y, "contract"), contract);
    return { contract, rate: write(right, y, "figure end-text") };
  });
  return { node, state, figures, rows };
}

function update(picture) {
  const gone = new Set(picture.processes.filter((one) => one.state === "gone").map((one) => one.name));
  for (const [process, { node, title }] of drawn.titles) {
    node.classList.toggle("gone", gone.has(process) || process === "");
    say(title, process === "" ? "in no process" : `${process}${gone.has(process) ? " — gone" : ""}`);
  }
  const rates = new Map(picture.edges.map((edge) => [`${edge.source} ${edge.contract}`, edge.rate]));
  for (const service of picture.services) {
    const box = drawn.boxes.get(service.name);
    if (box === undefined) continue;
    const kind = judge(service);
    box.node.dataset.state = kind;
    say(box.state, `${MARKS[kind]} ${service.state}`);
    // A source handles nothing, and need not say so.
    say(box.figures, service.rate ? `${rate(service.rate)}/s · p99 ${micros(service.p99_us)}` : "");
    for (const row of box.rows) {
      const value = rates.get(`${service.name} ${row.contract}`);
      say(row.rate, value === null || value === undefined ? "" : `${rate(value)}/s`);
    }
    const where = service.process ? `in process ${service.process}` : "in no process";
    const label = [service.name, service.state, where, service.why].filter(Boolean).join(", ");
    if (box.node.getAttribute("aria-label") !== label) box.node.setAttribute("aria-label", label);
  }
  for (const line of drawn.lines) {
    const flows = (rates.get(`${line.source} ${line.contract}`) ?? 0) > 0;
    line.node.classList.toggle("flows", flows);
    line.end.classList.toggle("flows", flows);
  }
}

/** Show the lines of one service more clearly than the others. */
function light(svg, lines, name, on) {
  svg.classList.toggle("looking", on);
  for (const line of lines) line.node.classList.toggle("lit", on && (line.source === name || line.target === name));
}

function make(kind, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
