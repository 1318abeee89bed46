// Listens to what the server tells, and shows it. The browser connects again by itself; if the server had no room,
// or was not there at all, we do.

import { showGraph } from "/graph.js";
import {
  showAlerts, showBooks, showKey, showProcesses, showServices, showSignals, showStores,
} from "/tables.js";
import { say } from "/text.js";

const AGAIN_MS = 2000;
const SILENT_MS = 4000; // the server says something every second
const MAX_SIGNALS = 200; // as many as the server keeps

let picture = null;
let signals = [];
let source = null;
let again = null;
let heard = 0;

function connection(state, text) {
  const node = document.getElementById("connection");
  node.dataset.state = state;
  say(node, text);
  document.body.classList.toggle("stale", state === "lost");
}

function show(status) {
  picture = status;
  say(document.getElementById("system"), status.system);
  showKey(status);
  showAlerts(status);
  showGraph(document.getElementById("graph"), status);
  showServices(status);
  showProcesses(status);
  showBooks(status);
  showStores(status);
}

function hear(kind, take) {
  source.addEventListener(kind, (event) => {
    heard = Date.now();
    connection("live", "● live");
    take(JSON.parse(event.data));
  });
}

function connect() {
  clearTimeout(again);
  source?.close();
  heard = Date.now();
  source = new EventSource("/events");
  source.addEventListener("error", lost);
  hear("whole", (whole) => {
    signals = whole.signals;
    show(whole);
    showSignals(signals, whole.signals_total);
  });
  hear("status", show);
  hear("signals", (more) => {
    signals = [...more.signals, ...signals].slice(0, MAX_SIGNALS);
    showSignals(signals, more.signals_total);
  });
}

function lost() {
  connection("lost", "✕ connection lost: these figures are old; trying again …");
  // Closed for good: it had an answer that is no stream, such as that there is no room.
  if (source.readyState === EventSource.CLOSED) {
    clearTimeout(again);
    again = setTimeout(connect, AGAIN_MS);
  }
}

setInterval(() => {
  if (Date.now() - heard > SILENT_MS) {
    lost();
    connect();
  }
}, 1000);

const narrow = matchMedia("(max-width: 760px)");
narrow.addEventListener("change", () => picture && showGraph(document.getElementById("graph"), picture));
connect();
