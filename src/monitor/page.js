// The page of a worker: every repository and mirror, what is pending and why, and the lag of the last hours.
//
// What comes from the worker is inserted as text, never as HTML. The page asks for `status` every few seconds. Only a bounded
// number of rows is drawn, and only rows that have changed are drawn again. The token is kept in memory alone.

/** Milliseconds between two looks at the status. */
const LOOK_INTERVAL = 5000;
/** Milliseconds after which a look without an answer is given up. */
const LOOK_LIMIT = 10_000;
/** Number of rows that are drawn at first, and that each "Show more" adds. */
const ROWS = 100;
/** Seconds of lag from which a mirror is in trouble. */
const STALE = 15 * 60;
/** Seconds before the end of a token from which it is noted. */
const TOKEN_NEAR = 14 * 24 * 3600;
/** Seconds that a sample of the lag covers. */
const SAMPLE = 300;
/** Values of a mirror whose status could never be read. */
const UNREAD = { pending: 0, failed: 0, problems: 0, groups: [], broken: [], watermarks: [], lag_samples: [], last_pushes: [] };
/** Size of the drawing of the lag, in its own units. */
const [WIDTH, HEIGHT] = [240, 48];

const [connection, access, tokenInput, search, show, list, more, announcements] = [
  "connection", "access", "token", "search", "show", "mirrors", "more", "announcements",
].map((id) => document.getElementById(id));
const field = (id) => document.getElementById(id);
const timeFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

let token = null;
let lookTimer;
let isLooking = false;
/** True if the next look follows at once. */
let isLookWanted = false;
/** Mirrors as the worker reports them, the ones in trouble first: `{key, repository, mirror, state, problems, text}`. */
let mirrors = [];
/** Time of the status, in milliseconds. */
let now = Date.now();
let rows = ROWS;
/** Rows that are drawn, by key: `{about, row, details}`. */
const drawn = new Map();
/** Keys of the mirrors whose details are open. */
const open = new Set();
/** Number of rows that were ever drawn. */
let serial = 0;
let announced = null;

// --- Requests

/** Looks at the status, now and at intervals. There is one look at a time: another one follows it. */
async function look() {
  clearTimeout(lookTimer);
  isLookWanted = true;
  if (isLooking) return;
  isLooking = true;
  let isTokenWanted = false;
  while (isLookWanted) {
    isLookWanted = false;
    isTokenWanted = await lookOnce();
  }
  isLooking = false;
  if (!document.hidden && !isTokenWanted) lookTimer = setTimeout(look, LOOK_INTERVAL);
}

/** Looks at the status once. Returns true if a token must be entered first. */
async function lookOnce() {
  const sent = token;
  try {
    const headers = sent === null ? {} : { Authorization: `Bearer ${sent}` };
    const signal = AbortSignal.timeout(LOOK_LIMIT);
    const response = await fetch("status", { headers, signal, cache: "no-store", redirect: "error" });
    if (response.status === 401 || response.status === 403) {
      // A token that was entered meanwhile is sent next.
      if (sent === token) askForToken();
      return true;
    }
    if (!response.ok) throw new Error(`status ${response.status}`);
    const status = await response.json();
    access.hidden = true;
    connected("live", `Updated ${timeFormat.format(Date.parse(status.now))}`);
    take(status);
  } catch (error) {
    const why = error.name === "TimeoutError" ? `no answer within ${LOOK_LIMIT / 1000} s` : error.message;
    connected("lost", `Disconnected: ${why}. Retrying.`);
  }
  return false;
}

function askForToken() {
  const note = field("access-problem");
  if (token !== null) {
    note.textContent = "The worker refused the token.";
    note.dataset.state = "refused";
  }
  token = null;
  access.hidden = false;
  connected("lost", "A token is required");
  tokenInput.focus();
}

function connected(state, text) {
  const wasLost = connection.dataset.state === "lost";
  connection.dataset.state = state;
  connection.textContent = text;
  if (wasLost !== (state === "lost")) announcements.textContent = text;
}

// --- Mirrors

function take(status) {
  now = Date.parse(status.now);
  field("version").textContent = `stargate-mirror ${status.version}`;
  mirrors = status.repositories.flatMap(({ repository, mirrors: each }) =>
    each.map((one) => judged(repository, { ...UNREAD, ...one })),
  );
  mirrors.sort(compare);
  draw();
  const count = mirrors.filter(({ state }) => state === "trouble").length;
  if (count !== announced) {
    announcements.textContent = count === 0 ? "No mirror is in trouble" : `In trouble: ${counted(count, "mirror")}`;
    document.title = count === 0 ? "Mirrors" : `(${count}) Mirrors`;
  }
  announced = count;
}

function judged(repository, mirror) {
  const problems = problemsOf(mirror);
  const isTrouble = problems.some(({ isNote }) => !isNote) || (mirror.oldest_pending_age_s ?? 0) >= STALE;
  const state = isTrouble ? "trouble" : mirror.pending > 0 ? "pending" : problems.length > 0 ? "note" : "ok";
  const key = JSON.stringify([repository, mirror.mirror ?? null]);
  const texts = problems.flatMap(({ what, reason, words }) => [what, reason, ...(words ?? [])]);
  const text = [repository, mirror.mirror, mirror.remote, state, ...texts].filter(Boolean).join("\n").toLowerCase();
  return { key, repository, mirror, state, problems, text };
}

/** What is wrong with a mirror, in its server's own words, and what to do. */
function problemsOf(mirror) {
  const problems = [];
  const add = (what, reason, rest = {}) => problems.push({ what, reason, ...rest });
  const doctor = "Run `stargate-mirror doctor`.";
  if (mirror.error) add("The last cycle could not run", mirror.error, { hint: doctor });
  const isLong = (since) => since && now - Date.parse(since) >= STALE * 1000;
  const restart = "Look at the log and at the process, and restart it. A restart is safe at any time.";
  if (isLong(mirror.cycle_running_since)) {
    add("A cycle does not end", `It began at ${timeFormat.format(Date.parse(mirror.cycle_running_since))}.`, { hint: restart });
  }
  if (isLong(mirror.locked_since)) {
    add("Another worker holds the lock", `No cycle could run since ${timeFormat.format(Date.parse(mirror.locked_since))}.`, { hint: restart });
  }
  for (const group of mirror.groups) {
    if (group.reason === null) continue;
    const hint = group.advice ?? "The worker retries. See `stargate-mirror doctor`, and `sync --dry-run` if the mirror has diverged.";
    add(group.group, group.reason, { words: group.server_words, hint, next: group.next_try, attempts: group.attempts });
  }
  if (mirror.comparison) {
    const { reason, next_try: next, attempts } = mirror.comparison;
    add("The refs of both sides could not be compared", reason, { hint: doctor, next, attempts });
  }
  if (mirror.unreachable && !problems.some(({ reason }) => reason === mirror.unreachable)) {
    add("The mirror could not be reached", mirror.unreachable, { hint: doctor });
  }
  for (const { ref, reason } of mirror.broken) {
    add(`Broken: ${ref ?? "a file with refs"}`, reason, { hint: "Run `git fsck` in the repository." });
  }
  for (const { namespace, set_back: isSetBack } of mirror.watermarks) {
    const hint = isSetBack ? undefined : "The worker retries.";
    add(`The watermark of ${namespace} was wrong`, isSetBack ? "It was reset." : "It is not reset yet.", { hint, isNote: isSetBack });
  }
  if (mirror.failed > 0) {
    add(`${counted(mirror.failed, "entry", "entries")} failed`, null, { hint: "See `stargate-mirror journal list --status failed`; `journal retry` makes them pending again." });
  }
  if (mirror.problems > 0) add(`${counted(mirror.problems, "invalid line")} in the journal`, null, { hint: "Run `stargate-mirror journal verify`." });
  if (mirror.forgotten) add("The worker's memory cannot be read", mirror.forgotten, { hint: "It may be deleted." });
  const note = (what, reason, hint) => add(what, reason, { hint, isNote: true });
  if (!mirror.last_cycle_at && !mirror.error) note("No cycle has ended yet", null);
  if (mirror.missing) note("Local only", mirror.missing);
  if (mirror.lfs) note("Git LFS", mirror.lfs);
  if (mirror.head) note("HEAD differs", mirror.head.error ?? null, "Set the default branch of the mirror, or `stargate.defaultBranch` to `leave`.");
  const ends = mirror.token ? Date.parse(mirror.token.expires_at) : Infinity;
  if (ends - now < TOKEN_NEAR * 1000) {
    note("Token", `It ${ends > now ? "ends" : "ended"} at ${timeFormat.format(ends)}.`, "Create a new token, and replace the old one with it.");
  }
  return problems;
}

/** Trouble first, then the oldest pending entry, then by name. */
function compare(one, other) {
  const rank = ({ state }) => ["trouble", "pending", "note", "ok"].indexOf(state);
  const age = ({ mirror }) => mirror.oldest_pending_age_s ?? -1;
  return rank(one) - rank(other) || age(other) - age(one) || (one.key < other.key ? -1 : one.key > other.key ? 1 : 0);
}

function chosen() {
  const words = search.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
  const isShown = ({ state, mirror }) =>
    show.value === "" || (show.value === "trouble" ? state === "trouble" : mirror.pending > 0);
  return mirrors.filter((one) => isShown(one) && words.every((word) => one.text.includes(word)));
}

// --- Rows

function draw() {
  const focused = document.activeElement;
  const wanted = chosen();
  const shown = wanted.slice(0, rows);
  const keys = new Set(shown.map(({ key }) => key));
  for (const [key, { row, details }] of drawn) {
    if (keys.has(key)) continue;
    row.remove();
    details.remove();
    drawn.delete(key);
  }
  let place = list.firstElementChild;
  for (const one of shown) {
    const { row, details } = rowOf(one);
    if (row === place) place = details.nextElementSibling;
    else list.insertBefore(row, place);
    if (row.nextElementSibling !== details) row.after(details);
  }
  // A row that has moved has lost the focus.
  if (document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
  field("none").hidden = wanted.length > 0;
  more.hidden = wanted.length <= rows;
  const troubled = wanted.filter(({ state }) => state === "trouble").length;
  const all = wanted.length === mirrors.length ? counted(wanted.length, "mirror") : `${wanted.length} of ${counted(mirrors.length, "mirror")}`;
  field("count").textContent = `${all}, ${troubled} in trouble${more.hidden ? "" : `; the first ${rows} are shown`}`;
}

/** The row of a mirror, drawn again in place if it has changed. The focus stays where it is. */
function rowOf(one) {
  const about = JSON.stringify([one.mirror, open.has(one.key), agesOf(one.mirror)]);
  const known = drawn.get(one.key);
  if (known?.about === about) return known;
  const { row, details } = known ?? { row: make("tr", { className: "mirror" }), details: make("tr", { className: "details" }) };
  row.dataset.state = one.state;
  const toggle = known ? row.querySelector("button") : toggleOf(one, details);
  toggle.ariaExpanded = String(open.has(one.key));
  const cells = cellsOf(one);
  if (known) [...row.children].forEach((cell, index) => index !== 1 && cell.replaceWith(cells[index]));
  else row.append(cells[0], make("td", {}, toggle), ...cells.slice(2));
  // The button stays where it is, and with it the focus.
  while (toggle.nextSibling) toggle.nextSibling.remove();
  toggle.after(...namesOf(one));
  details.hidden = !open.has(one.key);
  details.replaceChildren(...(details.hidden ? [] : [make("td", { colSpan: 6 }, ...detailsOf(one))]));
  const entry = { about, row, details };
  drawn.set(one.key, entry);
  return entry;
}

function toggleOf(one, details) {
  details.id = `details-${(serial += 1)}`;
  const toggle = make("button", { type: "button", className: "name" }, make("bdi", {}, one.repository));
  toggle.setAttribute("aria-controls", details.id);
  toggle.addEventListener("click", () => {
    if (!open.delete(one.key)) open.add(one.key);
    draw();
  });
  return toggle;
}

function namesOf({ mirror, problems }) {
  const remote = [mirror.mirror, mirror.remote].filter((name, index, all) => name && all.indexOf(name) === index);
  const names = remote.map((name) => make("bdi", { className: "of" }, name));
  const first = problems[0];
  if (first) names.push(make("p", { className: "problem" }, [first.what, first.reason].filter(Boolean).join(": ")));
  return names;
}

function cellsOf({ mirror, state }) {
  const word = { trouble: "Trouble", pending: "Pending", note: "Note", ok: "OK" }[state];
  return [
    make("td", { className: "state" }, word),
    null,
    make("td", { className: "number" }, String(mirror.pending)),
    make("td", {}, mirror.oldest_pending ? timeOf(mirror.oldest_pending) : "–"),
    make("td", { className: "wide" }, lagOf(mirror, false)),
    make("td", { className: "wide" }, mirror.last_success_at ? timeOf(mirror.last_success_at) : "never"),
  ];
}

function agesOf({ oldest_pending: oldest, last_success_at: success }) {
  return [oldest, success].map((at) => (at ? ago(at) : null));
}

// --- Details

function detailsOf({ mirror, problems }) {
  const facts = [
    ["Last cycle", mirror.last_cycle_at], ["Last comparison of both sides", mirror.compared_at],
  ].filter(([, at]) => at).flatMap(([name, at]) => [make("dt", {}, name), make("dd", {}, timeOf(at))]);
  const parts = problems.map(problemOf);
  if (parts.length === 0) parts.push(make("p", {}, mirror.pending > 0 ? "The next cycle sends what is pending." : "Nothing is wrong."));
  return [
    ...parts,
    make("dl", {}, ...facts),
    make("h3", {}, "Lag"), lagOf(mirror, true),
    make("h3", {}, "Last pushes"), pushesOf(mirror.last_pushes),
  ];
}

function problemOf({ what, reason, words, hint, next, attempts, isNote }) {
  const part = make("div", { className: isNote ? "finding note" : "finding" }, make("h3", {}, make("bdi", {}, what)));
  if (reason) part.append(make("p", {}, reason));
  if (words?.length > 0) {
    part.append(make("p", { className: "of" }, "The server says:"), make("pre", {}, words.join("\n")));
  }
  if (hint) part.append(make("p", { className: "hint" }, ...withCode(hint)));
  const tried = attempts > 0 ? counted(attempts, "failed attempt") : "";
  const later = next && Date.parse(next) > now ? `next retry at ${timeFormat.format(Date.parse(next))}` : "";
  const when = [tried, later].filter(Boolean).join(", ");
  if (when) part.append(make("p", { className: "of" }, when));
  return part;
}

/** Text with code between backquotes. */
function withCode(text) {
  return text.split("`").map((part, index) => (index % 2 === 1 ? make("code", {}, part) : part));
}

function pushesOf(pushes) {
  if (pushes.length === 0) return make("p", {}, "None since the worker was started.");
  const heads = ["Time", "Outcome", "Refs", "Bytes", "Duration"].map((name) => make("th", { scope: "col" }, name));
  const body = [...pushes].sort((one, other) => Date.parse(other.at) - Date.parse(one.at)).map((push) => {
    const outcome = make("td", {}, push.outcome);
    if (push.error) outcome.append(make("p", { className: "problem" }, push.error));
    const numbers = [push.refs, push.bytes, `${push.elapsed_ms} ms`].map((number) => make("td", {}, String(number)));
    return make("tr", {}, make("td", {}, timeOf(push.at)), outcome, ...numbers);
  });
  return make("table", { className: "pushes" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body));
}

// --- The line of the lag

/** The lag of the last hours as a line, with the same in words. Without a push, it is the age of the oldest entry. */
function lagOf({ lag_samples: samples, oldest_pending_age_s: age }, isLarge) {
  const current = age ?? 0;
  if (samples.length === 0 && current === 0) return make("span", { className: "of" }, "no data");
  const to = now / 1000;
  const steps = stepsOf(samples, to, current);
  const from = steps[0][0];
  const highest = Math.max(...steps.map(([, lag]) => lag));
  const words = `now ${duration(current)}, at most ${duration(highest)} in the last ${duration(to - from)}`;
  const x = (at) => ((at - from) / Math.max(1, to - from)) * WIDTH;
  const y = (lag) => HEIGHT - 2 - (lag / Math.max(1, highest)) * (HEIGHT - 4);
  const points = steps.map(([at, lag]) => `${x(at).toFixed(1)},${y(lag).toFixed(1)}`).join(" ");
  const viewBox = `0 0 ${WIDTH} ${HEIGHT}`;
  const drawing = element("svg", { viewBox, role: "img", "aria-label": `Lag: ${words}`, preserveAspectRatio: "none" });
  drawing.append(
    element("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }),
    element("polyline", { class: "line", points }),
  );
  const figure = make("figure", { className: isLarge ? "lag large" : "lag" }, drawing);
  if (isLarge) figure.append(make("figcaption", {}, words));
  return figure;
}

/** Points of the line: each sample lasts for its time, and between samples nothing was late. */
function stepsOf(samples, to, current) {
  const steps = samples.flatMap(([at, lag], index) => {
    const end = Math.min(at + SAMPLE, to);
    const next = samples[index + 1]?.[0] ?? to - current;
    return [[at, lag], [end, lag], ...(next > end ? [[end, 0], [next, 0]] : [])];
  });
  if (current > 0) steps.push([to - current, 0], [to, current]);
  return steps.sort(([one], [other]) => one - other);
}

// --- Texts and elements

function duration(seconds) {
  const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = units.findIndex(([, size]) => seconds >= size);
  if (at < 0) return "0 s";
  const [[name, size], below] = [units[at], units[at + 1]];
  const rest = below ? Math.floor((seconds % size) / below[1]) : 0;
  return `${Math.floor(seconds / size)} ${name}${rest > 0 ? ` ${rest} ${below[0]}` : ""}`;
}

function ago(at) {
  return `${duration(Math.max(0, (now - Date.parse(at)) / 1000))} ago`;
}

function timeOf(at) {
  return make("time", { dateTime: at, title: timeFormat.format(Date.parse(at)) }, ago(at));
}

function counted(count, one, several = `${one}s`) {
  return `${count} ${count === 1 ? one : several}`;
}

function make(tag, properties, ...content) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...content);
  return made;
}

function element(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function filterChanged() {
  rows = ROWS;
  const query = new URLSearchParams([["search", search.value], ["show", show.value]].filter(([, value]) => value !== ""));
  history.replaceState(null, "", query.size > 0 ? `?${query}` : location.pathname);
  draw();
}

field("filter").addEventListener("submit", (submitted) => submitted.preventDefault());
search.addEventListener("input", filterChanged);
show.addEventListener("change", filterChanged);
more.addEventListener("click", () => {
  const next = rows;
  rows += ROWS;
  draw();
  list.querySelectorAll("button.name")[next]?.focus();
});
access.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  token = tokenInput.value.trim();
  tokenInput.value = "";
  look();
});
// A tab that is not seen asks for nothing.
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(lookTimer) : look()));

const given = new URLSearchParams(location.search);
search.value = given.get("search") ?? "";
show.value = given.get("show") ?? "";
look();
