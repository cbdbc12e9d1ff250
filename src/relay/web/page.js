// The page of a relay: its feeds, and their newest events as they arrive.
//
// What comes from the relay is inserted as text, never as HTML. The page keeps a bounded number of events. It asks for
// `status` at intervals, and follows one `stream`, which resumes after the last number that was seen. The token is sent in a
// header, and is kept by this tab alone (relay.js).

import { hasToken, keepToken, messages, request } from "./relay.js";

/** Maximum number of events that are kept, and of characters of their JSON. */
const MAX_EVENTS = 500;
const MAX_CHARACTERS = 16 << 20;
/** Maximum number of feeds in a stream, and maximum length of its URL. */
const MAX_FEEDS = 100;
const MAX_URL = 8000;
/** How many numbers before the last one a stream begins: without and with a filter. */
const LOOK_BACK = 500;
const LOOK_BACK_FILTERED = 10_000;
/** Maximum number of rows in the table of feeds, and of suggestions for a filter. */
const MAX_ROWS = 200;
const MAX_SUGGESTIONS = 100;
/** Maximum number of events behind a mirror that the relay counts. */
const MAX_COUNTED = 1000;
/** Maximum length of the text that is shown of an event, in characters. */
const MAX_TEXT = 300;
/** Milliseconds between two looks at the feeds, and between two announcements of new events. */
const LOOK_INTERVAL = 10_000;
const ANNOUNCE_INTERVAL = 10_000;
/** Milliseconds before the first and before the last attempt to connect again. */
const RETRY_MIN = 1000;
const RETRY_MAX = 30_000;
/** Names of the filters, which are those of the query, too. */
const FILTERS = ["feed", "type", "author", "search"];

const [connection, access, tokenInput, forget, filter, pause, list, announcements] = [
  "connection", "access", "token", "forget", "filter", "pause", "events", "announcements",
].map((id) => document.getElementById(id));
const field = (id) => document.getElementById(id);
const timeFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

/** Feeds as the relay lists them. */
let feeds = [];
/** Events that are kept, by descending number: `{seq, raw, key, item}`. */
let events = [];
/** Messages that are not shown yet, by ascending number. */
let waiting = [];
let characters = 0;
/** Number that the stream has reached; `null` before it began. */
let reached = null;
/** Number of the last event when the stream began: only later ones are announced. */
let announcedAfter = 0;
let isPaused = false;
let isDrawing = false;
/** Aborts the stream. */
let following = new AbortController();
/** Feeds and filters of the stream. */
let followed = "";
let lookTimer;
let unannounced = 0;
let announceTimer;

// --- Requests

/** What the stream is to have: feeds that exist, and filters. */
function selection() {
  const { feed, type, author } = chosen();
  const newestFirst = [...feeds].sort((one, other) => other.last_seq - one.last_seq);
  const wanted = feed === "" ? newestFirst : feeds.filter((one) => one.id === feed);
  const query = new URLSearchParams();
  const taken = [];
  for (const one of wanted.slice(0, MAX_FEEDS)) {
    query.append("feed", one.id);
    if (String(query).length > MAX_URL) break;
    taken.push(one);
  }
  const ids = taken.map((one) => one.id).sort();
  const last = Math.max(0, ...taken.map((one) => one.last_seq));
  const filters = [["type", type], ["author", author]].filter(([, value]) => value !== "");
  return { ids, last, filters };
}

function chosen() {
  return Object.fromEntries(FILTERS.map((id) => [id, field(id).value]));
}

/** Follows the selection, if it is not followed already. The events that are shown stay only if `keeps`. */
function follow(keeps) {
  const { ids, last, filters } = selection();
  const key = JSON.stringify([ids, filters]);
  if (key === followed) return;
  following.abort();
  followed = key;
  if (!keeps) clear();
  if (ids.length === 0) return connected("live", feeds.length === 0 ? "Connected; there are no feeds" : "No such feed");
  following = new AbortController();
  const lookBack = filters.length === 0 ? LOOK_BACK : LOOK_BACK_FILTERED;
  // A feed that is new in the selection may have events before the number that was reached.
  reached = Math.max(0, Math.min(reached ?? last, last) - lookBack);
  announcedAfter = last;
  const query = new URLSearchParams([...ids.map((id) => ["feed", id]), ...filters]);
  connect(query, following.signal);
}

async function connect(query, signal) {
  let wait = RETRY_MIN;
  while (!signal.aborted) {
    let problem = "the relay ended the stream";
    try {
      const response = await request(`stream?${query}`, { signal, headers: { "Last-Event-ID": String(reached) } });
      connected("live", "Live");
      wait = RETRY_MIN;
      await receive(response.body, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) return askForToken(error.message);
      problem = error.message;
    }
    if (signal.aborted) return;
    connected("lost", `Disconnected: ${problem}. Retrying.`);
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(2 * wait, RETRY_MAX);
  }
}

async function receive(body, signal) {
  const resumed = reached;
  let isFirst = true;
  for await (const { id, data } of messages(body)) {
    if (signal.aborted) return;
    // The relay gives numbers again: it has lost what was shown.
    if (isFirst && id < resumed) clear();
    isFirst = false;
    reached = id;
    if (data === null) continue;
    waiting.push({ seq: id, raw: data });
    if (waiting.length > MAX_EVENTS) waiting.shift();
    draw();
  }
}

/** Looks at the feeds, now and at intervals. */
async function look() {
  clearTimeout(lookTimer);
  try {
    const status = await (await request("status")).json();
    access.hidden = true;
    forget.hidden = !hasToken();
    showFeeds(status.feeds);
    follow(true);
  } catch (error) {
    if (error.status === 401) return askForToken(error.message);
    connected("lost", `Disconnected: ${error.message}. Retrying.`);
  }
  clearTimeout(lookTimer);
  if (!document.hidden) lookTimer = setTimeout(look, LOOK_INTERVAL);
}

function askForToken(problem) {
  stop();
  const note = field("access-problem");
  if (hasToken()) {
    note.textContent = `The relay refused the token: ${problem}.`;
    note.dataset.state = "refused";
  }
  keepToken(null);
  forget.hidden = true;
  access.hidden = false;
  connected("lost", "A token is required");
  tokenInput.focus();
}

function stop() {
  clearTimeout(lookTimer);
  following.abort();
  followed = "";
}

// --- Feeds

function showFeeds(listed) {
  const names = (some) => JSON.stringify(some.map(({ id, name }) => [id, name]));
  const isSame = names(listed) === names(feeds);
  feeds = listed;
  if (!isSame) rebuildFeeds();
  fill("#feeds .number", ({ last_seq }) => String(last_seq));
  fill("#feeds .mirror", mirrorOf);
}

/** Shows a text of each feed in its cell. */
function fill(cells, textOfFeed) {
  document.querySelectorAll(cells).forEach((cell, index) => {
    const text = textOfFeed(feeds[index]);
    if (cell.textContent !== text) cell.textContent = text;
  });
}

/** Position of the mirror that is behind the others. */
function mirrorOf({ confirmed, behind }) {
  if (confirmed === null) return "none";
  if (behind === 0) return "has all events";
  const count = behind === MAX_COUNTED ? `at least ${behind}` : behind;
  return `has events up to ${confirmed}, ${count} behind`;
}

function rebuildFeeds() {
  const select = field("feed");
  const selected = select.value || new URLSearchParams(location.search).get("feed") || "";
  const all = make("option", { value: "" }, "All feeds");
  const options = feeds.map(({ id, name }) => make("option", { value: id }, name === id ? id : `${name} (${id})`));
  select.replaceChildren(all, ...options);
  select.value = feeds.some(({ id }) => id === selected) ? selected : "";
  const rows = feeds.slice(0, MAX_ROWS).map(({ id, name }) => {
    const choose = make("button", { type: "button" }, id);
    choose.addEventListener("click", () => {
      select.value = id;
      filterChanged();
      field("events-title").focus();
    });
    const feed = make("td", {}, choose);
    if (name !== id) feed.append(make("bdi", { className: "name" }, name));
    return make("tr", {}, feed, make("td", { className: "number" }), make("td", { className: "mirror" }));
  });
  field("feeds").replaceChildren(...rows);
  const more = feeds.length - rows.length;
  field("feeds-note").hidden = more <= 0;
  field("feeds-note").textContent = `The newest ${rows.length} of ${feeds.length} feeds. The list “Feed” has all of them.`;
}

// --- Events

/** Draws what is waiting, together with what arrives until then. */
function draw() {
  if (isPaused) field("waiting").textContent = `${waiting.length} waiting`;
  if (isPaused || isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    if (isPaused) return;
    const drawn = waiting;
    waiting = [];
    const hadFocus = list.contains(document.activeElement);
    for (const message of drawn) add(message);
    trim();
    search();
    if (!hadFocus) makeCurrent(firstShown());
  });
}

function add({ seq, raw }) {
  const event = JSON.parse(raw);
  const key = JSON.stringify([event.feed_id, event.event_id]);
  if (events.some((one) => one.key === key)) return;
  let at = 0;
  while (at < events.length && events[at].seq > seq) at += 1;
  const item = itemOf(event, seq);
  list.insertBefore(item, list.children[at] ?? null);
  events.splice(at, 0, { seq, raw, key, item });
  characters += raw.length;
  suggest("types", event.type);
  suggest("authors", event.author_identity_id);
  if (seq > announcedAfter) announceLater();
}

function itemOf(event, seq) {
  const parts = [
    timeOf(event.ts),
    make("span", { className: "type" }, make("bdi", {}, event.type)),
    make("span", { className: "of" }, make("bdi", {}, event.author_identity_id)),
    make("span", { className: "of" }, "in ", make("bdi", {}, event.feed_id)),
    make("bdi", { className: "text" }, textOf(event)),
  ];
  const button = make("button", { type: "button", className: "event", tabIndex: -1, ariaExpanded: "false" });
  // Blanks keep the words apart for screen readers.
  button.append(...parts.flatMap((part) => [part, " "]));
  const item = make("li", { value: seq }, button);
  button.addEventListener("click", () => expand(item, button.ariaExpanded === "false"));
  return item;
}

function timeOf(ts) {
  const date = new Date(ts);
  const shown = Number.isNaN(date.getTime()) ? ts : timeFormat.format(date);
  return make("time", { className: "of", dateTime: ts, title: ts }, shown);
}

function textOf({ payload }) {
  const text = typeof payload?.text === "string" ? payload.text : JSON.stringify(payload);
  const characters = [...text.slice(0, 2 * MAX_TEXT + 2)];
  return characters.length > MAX_TEXT ? `${characters.slice(0, MAX_TEXT).join("")}…` : text;
}

/** Shows or hides the JSON of an event. */
function expand(item, isShown) {
  item.querySelector("pre")?.remove();
  const button = item.querySelector("button");
  button.ariaExpanded = String(isShown);
  makeCurrent(item);
  if (!isShown) return;
  const { raw } = events.find((one) => one.item === item);
  const label = `JSON of the event, number ${item.value}`;
  item.append(make("pre", { tabIndex: 0, role: "group", ariaLabel: label }, indented(raw)));
}

/** Indents JSON without reading its numbers: JavaScript would round large ones. */
function indented(json) {
  let [depth, text] = [0, ""];
  const line = () => `\n${"  ".repeat(depth)}`;
  for (const [token] of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{[]\s*[}\]]|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === "{" || token === "[") {
      depth += 1;
      text += token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      text += line() + token;
    } else if (token === ",") text += token + line();
    else text += token === ":" ? ": " : token;
  }
  return text;
}

/** Removes the oldest events beyond the bounds. */
function trim() {
  while (events.length > MAX_EVENTS || (characters > MAX_CHARACTERS && events.length > 1)) {
    const { raw, item } = events.pop();
    characters -= raw.length;
    const hadFocus = item.contains(document.activeElement);
    item.remove();
    if (hadFocus) focusOn(events.at(-1).item);
  }
}

function clear() {
  events = [];
  waiting = [];
  characters = 0;
  reached = null;
  list.replaceChildren();
  field("waiting").textContent = "";
  search();
}

/** Shows the events that contain the text of the search. */
function search() {
  const text = field("search").value.toLowerCase();
  let shown = 0;
  for (const { raw, item } of events) {
    item.hidden = text !== "" && !raw.toLowerCase().includes(text);
    shown += item.hidden ? 0 : 1;
  }
  field("count").textContent = shown === events.length ? `${shown} newest` : `${shown} of the newest ${events.length}`;
  field("none").hidden = shown > 0;
  field("none").textContent = events.length > 0 ? "No event contains this text." : "No events yet.";
}

function suggest(id, value) {
  const suggestions = field(id);
  const isKnown = [...suggestions.children].some((one) => one.value === value);
  if (!isKnown && suggestions.children.length < MAX_SUGGESTIONS) suggestions.append(make("option", { value }));
}

// --- Keyboard and screen readers

function firstShown() {
  return list.querySelector("li:not([hidden])");
}

/** Makes this the event that the tab key reaches. */
function makeCurrent(item) {
  list.querySelectorAll("button.event[tabindex='0']").forEach((button) => (button.tabIndex = -1));
  if (item) item.querySelector("button").tabIndex = 0;
}

function focusOn(item) {
  if (!item) return;
  makeCurrent(item);
  item.querySelector("button").focus();
}

function keyPressed(pressed) {
  const item = pressed.target.closest("li");
  if (pressed.key === "Escape") {
    expand(item, false);
    focusOn(item);
    return;
  }
  if (pressed.target.tagName !== "BUTTON" || pressed.ctrlKey || pressed.altKey || pressed.metaKey) return;
  const shown = events.filter((one) => !one.item.hidden).map((one) => one.item);
  const at = shown.indexOf(item);
  const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[pressed.key];
  if (target === undefined) return;
  pressed.preventDefault();
  focusOn(shown[target]);
}

/** Announces new events, a few times a minute at most. */
function announceLater() {
  unannounced += 1;
  announceTimer ??= setTimeout(() => {
    announceTimer = undefined;
    announcements.textContent = unannounced === 1 ? "1 new event" : `${unannounced} new events`;
    unannounced = 0;
  }, ANNOUNCE_INTERVAL);
}

function connected(state, text) {
  if (connection.textContent === text) return;
  const wasLost = connection.dataset.state === "lost";
  connection.dataset.state = state;
  connection.textContent = text;
  if (wasLost || state === "lost") announcements.textContent = text;
}

// --- Elements and handlers

function make(tag, properties, ...content) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...content);
  return element;
}

function filterChanged() {
  const query = new URLSearchParams(Object.entries(chosen()).filter(([, value]) => value !== ""));
  history.replaceState(null, "", query.size > 0 ? `?${query}` : location.pathname);
  follow(false);
}

filter.addEventListener("submit", (submitted) => submitted.preventDefault());
filter.addEventListener("change", filterChanged);
field("search").addEventListener("input", () => {
  search();
  makeCurrent(firstShown());
});
list.addEventListener("keydown", keyPressed);
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.ariaPressed = String(isPaused);
  field("waiting").textContent = "";
  if (!isPaused) draw();
});
access.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  keepToken(tokenInput.value.trim());
  tokenInput.value = "";
  look();
});
forget.addEventListener("click", () => {
  keepToken(null);
  location.reload();
});
// A tab that is not seen holds no connection.
document.addEventListener("visibilitychange", () => (document.hidden ? stop() : look()));

const given = new URLSearchParams(location.search);
for (const id of FILTERS.slice(1)) field(id).value = given.get(id) ?? "";
look();
