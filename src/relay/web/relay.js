// Requests to the relay, with the token of this tab, and messages of its streams.

/** Name of the token in the tab's storage. */
const TOKEN = "relay-token";

let token = keptToken();

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function hasToken() {
  return token !== null;
}

function keptToken() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}

/** Keeps the token in memory, and in the tab's storage if the browser allows it. */
export function keepToken(given) {
  token = given;
  try {
    if (token === null) sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, token);
  } catch {
    // After a reload, the page asks again.
  }
}

export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  const response = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new Refused(response.status, String(answer.error ?? `status ${response.status}`));
}

/** Messages of server-sent events: `{id, data}`, without data if the message only says how far the stream is. */
export async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, id, data] = ["", "", []];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const [, name, text] = /^([^:]*):? ?(.*?)\r?$/s.exec(line);
      if (name === "id") id = text;
      else if (name === "data") data.push(text);
      else if (name === "" && line.trim() === "") {
        if (id !== "") yield { id: Number(id), data: data.length > 0 ? data.join("\n") : null };
        data = [];
      }
    }
  }
}
