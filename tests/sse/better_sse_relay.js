// A relay on better-sse: keeps events in memory, tells its listeners, hangs up when asked to.
import http from "node:http";
import { createChannel, createSession } from "better-sse";

const events = [];
const channel = createChannel();
let responses = [];

const place = (event) => [event.ts, event.event_id];
const isBehind = ([ts, id], [afterTs, afterId]) => ts > afterTs || (ts === afterTs && id > afterId);

async function body(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces));
}

async function serve(request, response) {
  const url = new URL(request.url, "http://localhost");
  const json = (status, value) => {
    response.writeHead(status, { "Content-Type": "application/json" });
    response.end(JSON.stringify(value));
  };
  const route = `${request.method} ${url.pathname}`;
  if (route === "POST /feeds/f/events") {
    const event = await body(request);
    events.push(event);
    channel.broadcast(event, "message");
    json(201, {});
  } else if (route === "GET /feeds/f/events") {
    const after = [url.searchParams.get("after_ts") ?? "", url.searchParams.get("after_id") ?? "~"];
    const behind = events.filter((event) => isBehind(place(event), after));
    behind.sort((one, other) => (isBehind(place(one), place(other)) ? 1 : -1));
    json(200, behind.slice(0, Number(url.searchParams.get("limit"))));
  } else if (route === "GET /feeds/f/stream") {
    const session = await createSession(request, response, { keepAlive: 1000, retry: 100 });
    responses.push(response);
    channel.register(session);
  } else if (route === "POST /hang-up") {
    responses.forEach((listening) => listening.end());
    responses = [];
    json(200, {});
  } else if (route === "GET /listeners") {
    json(200, channel.sessionCount);
  } else {
    json(404, {});
  }
}

const server = http.createServer((request, response) => void serve(request, response));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
