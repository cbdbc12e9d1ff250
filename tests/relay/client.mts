// A client of the Context Repo Protocol 0.1 in TypeScript, written to the protocol alone. Its argument is the URL of a relay.
import assert from "node:assert/strict";

type Json = null | boolean | number | string | Json[] | { [member: string]: Json };

interface Feed {
  id: string;
  name: string;
  policy_json: Json;
  created_at: string;
}

interface Event {
  event_id: string;
  feed_id: string;
  type: string;
  author_identity_id: string;
  source: { platform: string; adapter_id: string; source_msg_id: string | null };
  ts: string;
  payload: { [member: string]: Json };
  refs?: { [member: string]: Json };
}

interface Refusal {
  error: string;
  details?: { field: string; problem: string }[];
  stored?: Event;
}

interface Answer<Body> {
  status: number;
  headers: Headers;
  body: Body;
}

const base = process.argv[2];

async function call<Body>(method: "GET" | "POST", path: string, body?: unknown): Promise<Answer<Body>> {
  const response = await fetch(new URL(path, base), {
    method,
    headers: { "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as Body };
}

const uuid = () => crypto.randomUUID();

function message(feed_id: string, source_msg_id: string | null, text: string, ts = new Date().toISOString()): Event {
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

async function* streamed(path: string, lastId: string): AsyncGenerator<{ id: string; event: Event }> {
  const response = await fetch(new URL(path, base), { headers: { "Last-Event-ID": lastId } });
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
  assert.ok(response.body);
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of response.body) {
    text += decoder.decode(piece, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const field = (name: string) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const [id, data] = [field("id"), field("data")];
      if (id !== undefined && data !== undefined) yield { id, event: JSON.parse(data) as Event };
    }
  }
}

const health = await call<{ status: string }>("GET", "/health");
assert.equal(health.status, 200);
assert.equal(health.body.status, "ok");

// Feeds.
const made = await call<Feed>("POST", "/feeds", { name: "General talk", policy_json: { read: ["*"] } });
assert.equal(made.status, 201);
assert.deepEqual(Object.keys(made.body), ["id", "name", "policy_json", "created_at"]);
assert.deepEqual([made.body.name, made.body.policy_json], ["General talk", { read: ["*"] }]);
assert.match(made.body.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
assert.equal(new Date(made.body.created_at).toISOString(), made.body.created_at);
const second = await call<Feed>("POST", "/v1/feeds", { name: "General talk" });
assert.deepEqual([second.status, second.body.policy_json], [201, null]);
assert.notEqual(second.body.id, made.body.id);
assert.deepEqual((await call<Feed[]>("GET", "/feeds")).body, [second.body, made.body]);
assert.deepEqual((await call<Feed>("GET", `/feeds/${made.body.id}`)).body, made.body);
const feed = made.body.id;

// Errors.
const missing = await call<Refusal>("GET", `/feeds/${uuid()}`);
assert.deepEqual([missing.status, Object.keys(missing.body)], [404, ["error"]]);
for (const bad of [{}, { name: 7 }]) {
  const refused = await call<Refusal>("POST", "/feeds", bad);
  assert.deepEqual([refused.status, Object.keys(refused.body)], [400, ["error", "details"]]);
}
for (const change of [{ source: undefined }, { ts: "yesterday" }, { refs: [] }, { ts: "-000001-12-31T00:00:00Z" }]) {
  const refused = await call<Refusal>("POST", `/feeds/${feed}/events`, { ...message(feed, null, "bad"), ...change });
  assert.deepEqual([refused.status, Object.keys(refused.body)], [400, ["error", "details"]], JSON.stringify(change));
}
assert.equal((await call<Refusal>("POST", `/feeds/${uuid()}/events`, message(feed, null, "x"))).status, 404);

// Events: an agent has no message id, an adapter has one.
const agent: Event = { ...message(feed, null, "from an agent"), refs: { reply_to: uuid() } };
for (const status of [201, 200]) {
  const posted = await call<Event>("POST", `/feeds/${feed}/events`, agent);
  assert.deepEqual([posted.status, posted.body], [status, agent]);
  assert.deepEqual(Object.keys(posted.body), Object.keys(agent));
}
const adapter = message(feed, "m-1", "from an adapter");
assert.equal((await call<Event>("POST", `/feeds/${feed}/events`, adapter)).status, 201);
const retried: Event = { ...adapter, event_id: uuid(), ts: new Date().toISOString() };
const again = await call<Event>("POST", `/feeds/${feed}/events`, retried);
assert.deepEqual([again.status, again.body], [200, adapter]);
for (const other of [
  { ...adapter, payload: { text: "changed" } },
  { ...retried, payload: { text: "changed" } },
]) {
  const refused = await call<Refusal>("POST", `/feeds/${feed}/events`, other);
  assert.deepEqual([refused.status, refused.body.stored], [409, adapter]);
}

// Pages.
const at = (second: number) => new Date(Date.UTC(2026, 0, 10, 12, 0, second)).toISOString();
const talk = second.body.id;
const events: Event[] = [];
for (let number = 0; number < 130; number++) events.push(message(talk, `t-${number}`, `text ${number}`, at(number)));
for (const event of events.toReversed()) assert.equal((await call<Event>("POST", `/v1/feeds/${talk}/events`, event)).status, 201);
const first = await call<Event[]>("GET", `/feeds/${talk}/events`);
assert.deepEqual(first.body, events.slice(0, 50));
assert.deepEqual((await call<Event[]>("GET", `/feeds/${talk}/events?limit=5000`)).body, events.slice(0, 100));
assert.deepEqual((await call<Event[]>("GET", `/feeds/${talk}/events?limit=2&after_ts=${at(7)}`)).body, events.slice(8, 10));
const paged: Event[] = [];
for (let path: string | undefined = `/v1/feeds/${talk}/events?limit=33`; path; ) {
  const page: Answer<Event[]> = await call("GET", path);
  paged.push(...page.body);
  path = /^<([^>]*)>; rel="next"$/.exec(page.headers.get("link") ?? "")?.[1];
}
assert.deepEqual(paged, events);

// The stream.
const heard: Event[] = [];
for await (const { id, event } of streamed(`/feeds/${talk}/stream`, "0")) {
  assert.match(id, /^[0-9]+$/);
  heard.push(event);
  if (heard.length === events.length) break;
}
assert.deepEqual(heard, events.toReversed());

console.log("done");
process.exit(0);
