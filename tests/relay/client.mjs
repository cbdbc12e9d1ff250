// A client of the Context Repo Protocol 0.1, written to the protocol alone. Its argument is the URL of a relay.
import assert from "node:assert/strict";

const base = process.argv[2];

async function call(method, path, body) {
  const response = await fetch(new URL(path, base), {
    method,
    headers: { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const uuid = () => crypto.randomUUID();

function message(feed_id, source_msg_id, text, ts = new Date().toISOString()) {
  return {
    event_id: uuid(),
    feed_id,
    type: "message",
    author_identity_id: uuid(),
    source: { platform: "cli", adapter_id: uuid(), source_msg_id },
    ts,
    payload: { text },
  };
}

async function* streamed(path, lastId) {
  const response = await fetch(new URL(path, base), { headers: lastId === undefined ? {} : { "Last-Event-ID": lastId } });
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type"), /^text\/event-stream/);
  let text = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("data") !== undefined) yield { id: field("id"), event: JSON.parse(field("data")) };
    }
  }
}

const health = await call("GET", "/health");
assert.equal(health.status, 200);
assert.equal(health.body.status, "ok");

// Feeds.
const made = await call("POST", "/feeds", { name: "General talk", policy_json: { read: ["*"] } });
assert.equal(made.status, 201);
assert.deepEqual(Object.keys(made.body), ["id", "name", "policy_json", "created_at"]);
assert.deepEqual([made.body.name, made.body.policy_json], ["General talk", { read: ["*"] }]);
assert.match(made.body.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
assert.equal(new Date(made.body.created_at).toISOString(), made.body.created_at);
const second = await call("POST", "/v1/feeds", { name: "General talk" });
assert.deepEqual([second.status, second.body.policy_json], [201, null]);
assert.notEqual(second.body.id, made.body.id);
assert.deepEqual((await call("GET", "/feeds")).body, [second.body, made.body]);
assert.deepEqual((await call("GET", `/feeds/${made.body.id}`)).body, made.body);
const feed = made.body.id;

// Errors.
const missing = await call("GET", `/feeds/${uuid()}`);
assert.deepEqual([missing.status, Object.keys(missing.body)], [404, ["error"]]);
for (const bad of [{}, { name: 7 }]) {
  const refused = await call("POST", "/feeds", bad);
  assert.deepEqual([refused.status, Object.keys(refused.body)], [400, ["error", "details"]]);
}
for (const change of [{ source: undefined }, { ts: "yesterday" }, { refs: [] }, { ts: "-000001-12-31T00:00:00Z" }]) {
  const refused = await call("POST", `/feeds/${feed}/events`, { ...message(feed, null, "bad"), ...change });
  assert.deepEqual([refused.status, Object.keys(refused.body)], [400, ["error", "details"]], JSON.stringify(change));
}
assert.equal((await call("POST", `/feeds/${uuid()}/events`, message(feed, null, "x"))).status, 404);

// Events: an agent has no message id, an adapter has one.
const agent = { ...message(feed, null, "from an agent"), refs: { reply_to: uuid() } };
for (const status of [201, 200]) {
  const posted = await call("POST", `/feeds/${feed}/events`, agent);
  assert.deepEqual([posted.status, posted.body], [status, agent]);
  assert.deepEqual(Object.keys(posted.body), Object.keys(agent));
}
const adapter = message(feed, "m-1", "from an adapter");
assert.equal((await call("POST", `/feeds/${feed}/events`, adapter)).status, 201);
const retried = { ...adapter, event_id: uuid(), ts: new Date().toISOString() };
const again = await call("POST", `/feeds/${feed}/events`, retried);
assert.deepEqual([again.status, again.body], [200, adapter]);
for (const other of [
  { ...adapter, payload: { text: "changed" } },
  { ...retried, payload: { text: "changed" } },
]) {
  const refused = await call("POST", `/feeds/${feed}/events`, other);
  assert.deepEqual([refused.status, refused.body.stored], [409, adapter]);
}

// Pages.
const at = (second) => new Date(Date.UTC(2026, 0, 10, 12, 0, second)).toISOString();
const talk = second.body.id;
const events = [];
for (let number = 0; number < 130; number++) events.push(message(talk, `t-${number}`, `text ${number}`, at(number)));
for (const event of events.toReversed()) assert.equal((await call("POST", `/v1/feeds/${talk}/events`, event)).status, 201);
const first = await call("GET", `/feeds/${talk}/events`);
assert.deepEqual(first.body, events.slice(0, 50));
assert.deepEqual((await call("GET", `/feeds/${talk}/events?limit=5000`)).body, events.slice(0, 100));
assert.deepEqual((await call("GET", `/feeds/${talk}/events?limit=2&after_ts=${at(7)}`)).body, events.slice(8, 10));
const paged = [];
for (let path = `/v1/feeds/${talk}/events?limit=33`; path; ) {
  const page = await call("GET", path);
  paged.push(...page.body);
  path = /^<([^>]*)>; rel="next"$/.exec(page.headers.get("link") ?? "")?.[1];
}
assert.deepEqual(paged, events);

// The stream.
const heard = [];
for await (const { id, event } of streamed(`/feeds/${talk}/stream`, "0")) {
  assert.match(id, /^[0-9]+$/);
  heard.push(event);
  if (heard.length === events.length) break;
}
assert.deepEqual(heard, events.toReversed());

console.log("done");
process.exit(0);
