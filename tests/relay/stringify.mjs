// Reads one JSON text per line, and writes what JSON.stringify makes of each, as a JSON string per line.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const event = JSON.parse(line);
  console.log(JSON.stringify([JSON.stringify(event, null, 2) + "\n", JSON.stringify(event)]));
}
