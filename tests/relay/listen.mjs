// `eventsource` from npm: prints each message as [lastEventId, data]. Its arguments are the folder of node_modules and a URL.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, url] = process.argv.slice(2);
const resolved = createRequire(`${folder}/`).resolve("eventsource");
const { EventSource } = await import(pathToFileURL(resolved));
const source = new EventSource(url);
source.onopen = () => console.log(JSON.stringify("open"));
source.onmessage = (message) => console.log(JSON.stringify([message.lastEventId, message.data]));
