// Signs events and verifies them, written from docs/events.md alone. Events are lines of standard input.
//   node sign.mjs sign SEED    prints the signed events; SEED is the private key in hex
//   node sign.mjs verify       prints true or false for each event
import crypto from "node:crypto";
import readline from "node:readline";

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  // Strings are compared by their UTF-16 code units.
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join()}}`;
}

// No leading zeros: the first byte is always ed.
function toBase58(bytes) {
  let text = "";
  for (let rest = BigInt(`0x${bytes.toString("hex")}`); rest > 0n; rest /= 58n) text = ALPHABET[Number(rest % 58n)] + text;
  return text;
}

function ofBase58(text) {
  let number = 0n;
  for (const digit of text) number = number * 58n + BigInt(ALPHABET.indexOf(digit));
  return Buffer.from(number.toString(16), "hex");
}

function message({ signature, ...event }) {
  return Buffer.from(canonical(event));
}

function signed(event, key) {
  const { x } = crypto.createPublicKey(key).export({ format: "jwk" });
  const bytes = Buffer.concat([Buffer.from([0xed, 0x01]), Buffer.from(x, "base64url")]);
  event.author_identity_id = `did:key:z${toBase58(bytes)}`;
  event.signature = crypto.sign(null, message(event), key).toString("base64url");
  return event;
}

function isRight(event) {
  const bytes = ofBase58(event.author_identity_id.replace(/^did:key:z/, ""));
  if (bytes.length !== 34 || bytes[0] !== 0xed || bytes[1] !== 0x01) return false;
  const jwk = { kty: "OKP", crv: "Ed25519", x: bytes.subarray(2).toString("base64url") };
  const key = crypto.createPublicKey({ key: jwk, format: "jwk" });
  return crypto.verify(null, message(event), key, Buffer.from(event.signature, "base64url"));
}

const [mode, seed] = process.argv.slice(2);
const prefix = Buffer.from("302e020100300506032b657004220420", "hex");
const key = mode === "sign" && crypto.createPrivateKey({
  key: Buffer.concat([prefix, Buffer.from(seed, "hex")]), format: "der", type: "pkcs8",
});
for await (const line of readline.createInterface({ input: process.stdin })) {
  const event = JSON.parse(line);
  console.log(JSON.stringify(mode === "sign" ? signed(event, key) : isRight(event)));
}
