// Everything that is a table, or a list of figures.

import { NONE, age, bytes, clock, fill, micros, rate, say, whole } from "/text.js";

const by = (id) => document.getElementById(id);
const n = (text, extra = false) => ({ text, kind: extra ? "n extra" : "n" });
const marks = { good: "●", wait: "◐", bad: "✕" };

/** How good a state is: good, wait or bad. */
export function judge(service) {
  if (service.is_bad || service.state === "gone") return "bad";
  return service.is_ready || service.state === "ready" ? "good" : "wait";
}

const state = (thing, why) => {
  const kind = judge(thing);
  return { text: `${marks[kind]} ${thing.state}`, kind: `state ${kind}`, title: why ?? "" };
};

function why(thing) {
  // A state that already says it is not said twice.
  return thing.why && thing.why !== `is ${thing.state}` ? thing.why : "";
}

export function showKey(picture) {
  const { books, flow, processes, block } = picture;
  const there = processes.filter((one) => one.state !== "gone").length;
  const items = [
    ["Ledger", ...balance(books)],
    ["Processes", `${there} of ${processes.length}`, there === processes.length ? "good" : "bad"],
    ["Published/s", rate(flow.published_rate)],
    ["Handled/s", rate(flow.rate)],
    ["p50", micros(flow.p50_us)],
    ["p99", micros(flow.p99_us)],
    ["Dropped", whole(books.dropped_total)],
    ["Dead letters", whole(books.dead_letters), books.dead_letters ? "bad" : ""],
    ["Block", block === null ? NONE : whole(block.number)],
  ];
  const list = by("key");
  items.forEach(([name, value, kind = ""], at) => {
    let box = list.children[at];
    if (box === undefined) {
      box = document.createElement("div");
      box.append(document.createElement("dt"), document.createElement("dd"));
      list.append(box);
    }
    say(box.children[0], name);
    say(box.children[1], value);
    box.className = kind;
  });
}

function balance(books) {
  if (!books.told) return [NONE, ""];
  return books.missing ? [`${whole(books.missing)} missing`, "bad"] : ["balances", "good"];
}

function teller(books) {
  const told = books.told === 1 ? "1 process" : `${books.told} processes`;
  return books.gone ? `${told}, ${books.gone} gone` : told;
}

/** Sentences about what is wrong, for the eye and for who listens. */
export function showAlerts(picture) {
  const sentences = picture.processes
    .filter((one) => one.state === "gone")
    .map((one) => `Process ${one.name} is gone.`);
  for (const service of picture.services) {
    if (service.state === "not heard of" && service.is_bad) sentences.push(`Nobody has heard of ${service.name}.`);
    if (service.state === "failed") sentences.push(`Service ${service.name} failed.`);
  }
  if (picture.books.missing) sentences.push(`The ledger misses ${whole(picture.books.missing)} messages.`);
  for (const store of picture.stores) {
    if (store.is_full) sentences.push(`The journal of ${store.process} is full: publishers wait.`);
  }
  say(by("alerts"), sentences.join(" "));
}

export function showServices(picture) {
  const rows = picture.services.map((one) => [
    { text: one.name, head: true, title: why(one) },
    state(one, one.why),
    { text: [one.process || NONE, why(one)].filter(Boolean).join(" · "), kind: "extra" },
    n(rate(one.rate)),
    n(rate(one.published_rate), true),
    n(micros(one.p50_us), true),
    n(micros(one.p99_us)),
    n(whole(one.queued), true),
    n(whole(one.retried), true),
    n(whole(one.dead_letters), true),
  ]);
  fill(by("services").tBodies[0], rows);
}

export function showProcesses(picture) {
  const rows = picture.processes.map((one) => [
    { text: one.name, head: true },
    {
      ...state(one, one.why),
      text: [state(one).text, one.state === "gone" ? age(one.silent_seconds) : one.why].filter(Boolean).join(", "),
    },
    n(whole(one.restarts)),
    n(age(one.up_seconds), true),
    n(rate(one.rate)),
    n(micros(one.p50_us), true),
    n(micros(one.p99_us), true),
    { text: one.version, kind: "extra after" },
  ]);
  fill(by("processes").tBodies[0], rows);
}

export function showBooks(picture) {
  const { books } = picture;
  const [text, kind] = balance(books);
  fill(by("books").tBodies[0], [
    [{ text: "Books", head: true }, { text, kind: `n ${kind}` }],
    [{ text: "Dropped", head: true }, n(whole(books.dropped_total))],
    [{ text: "Dead letters", head: true }, n(whole(books.dead_letters))],
    [{ text: "Unconfirmed by the broker", head: true }, n(whole(books.unconfirmed))],
    [{ text: "Told by", head: true }, n(teller(books))],
  ]);
  const causes = [...books.dropped, ...books.refused];
  fill(
    by("causes").tBodies[0],
    causes.map((one) => [{ text: one.cause, head: true }, n(whole(one.number))]),
  );
}

export function showStores(picture) {
  const place = by("stores");
  if (!picture.stores.length) {
    if (place.dataset.shown !== "none") {
      const note = document.createElement("p");
      note.className = "empty";
      note.textContent = "No broker in this mode.";
      place.replaceChildren(note);
      place.dataset.shown = "none";
    }
    return;
  }
  if (place.dataset.shown !== "table") {
    const table = document.createElement("table");
    table.append(document.createElement("tbody"));
    place.replaceChildren(table);
    place.dataset.shown = "table";
  }
  const rows = picture.stores.flatMap((store) => [
    [{ text: "Process", head: true }, n(store.is_gone ? `${store.process}, gone` : store.process)],
    [{ text: "Journal", head: true }, n(`${bytes(store.stored_bytes)} of ${bytes(store.max_bytes)}`)],
    [{ text: "Messages kept", head: true }, n(whole(store.messages))],
    [{ text: "Unconfirmed frames", head: true }, n(whole(store.unconfirmed_frames))],
    ...store.lags.map((lag) => [{ text: `Behind: ${lag.reader}`, head: true }, n(whole(lag.messages))]),
  ]);
  fill(place.querySelector("tbody"), rows);
}

export function showSignals(signals, total) {
  say(by("signals-count"), total ? `${whole(total)} since the dashboard began` : "");
  by("signals-empty").hidden = signals.length > 0;
  const rows = signals.map((one) => [
    clock(one.timestamp),
    { text: one.strategy, kind: "extra" },
    one.asset,
    n(whole(one.hops)),
    { text: one.is_raw ? `${one.net} units` : one.net, kind: "n", title: `${one.net_raw} smallest units` },
    n(whole(one.block), true),
  ]);
  fill(by("signals").tBodies[0], rows);
}
