// Another homeserver, as far as the contract needs one: it is found by HTTPS, publishes its key, signs what it asks and
// what it makes, and takes what it is sent.
import { readFileSync } from "node:fs";
import https from "node:https";
import path from "node:path";
import { SigningKey } from "./signing.mjs";

/** How long its key is good: more than a day, less than the week that is believed. */
const KEY_VALID_MS = 2 * 24 * 60 * 60 * 1000;

export class Elsewhere {
  #server;
  #ca;
  #received = [];
  key = new SigningKey();

  /** @param {string} certificates the directory with `ca.pem`, `cert.pem` and `key.pem` for localhost */
  static async start(certificates) {
    const read = (name) => readFileSync(path.join(certificates, name));
    const elsewhere = new Elsewhere();
    elsewhere.#ca = read("ca.pem");
    elsewhere.#server = https.createServer({ cert: read("cert.pem"), key: read("key.pem") }, (request, response) => elsewhere.#answer(request, response));
    await new Promise((resolve) => elsewhere.#server.listen(0, "127.0.0.1", resolve));
    elsewhere.name = `localhost:${elsewhere.#server.address().port}`;
    return elsewhere;
  }

  end() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** Asks `destination`, a name with its port; unless `unsigned`, as `origin` with `key`, for whom `signedFor` names. */
  async ask(destination, { method, url, body, raw, unsigned, origin = this.name, key = this.key, signedFor = destination }) {
    const text = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    // What is no JSON cannot be signed; nobody looks at its signature.
    const content = raw === undefined ? body : parsed(raw);
    const { signatures } = key.signed(origin, { method, uri: url, origin, destination: signedFor, ...(content !== undefined && { content }) });
    const parts = { origin, destination: signedFor, key: key.id, sig: signatures[origin][key.id] };
    const header = `X-Matrix ${Object.entries(parts).map(([name, value]) => `${name}="${value}"`).join(",")}`;
    const headers = { ...(!unsigned && { authorization: header }), ...(text !== undefined && { "content-type": "application/json" }) };
    return request(`https://${destination}${url}`, { method, headers, ca: this.#ca }, text);
  }

  /** Bodies of the requests that it got at paths that begin so. */
  received(prefix) {
    return this.#received.filter(({ url }) => url.startsWith(prefix)).map(({ body }) => body);
  }

  async #answer(request, response) {
    const text = await textOf(request);
    const { url } = request;
    const body = text ? JSON.parse(text) : undefined;
    this.#received.push({ url, body });
    const [status, answer] = this.#answerTo(url, body);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
  }

  #answerTo(url, body) {
    if (url === "/_matrix/key/v2/server") return [200, this.#keys()];
    if (url.startsWith("/_matrix/federation/v1/send/")) return [200, { pdus: {} }];
    if (url.startsWith("/_matrix/federation/v2/invite/")) return [200, { event: this.key.signedEvent(this.name, body.event, body.room_version) }];
    return [404, { errcode: "M_UNRECOGNIZED", error: "Not here." }];
  }

  #keys() {
    const keys = { server_name: this.name, valid_until_ts: Date.now() + KEY_VALID_MS, verify_keys: { [this.key.id]: { key: this.key.public } }, old_verify_keys: {} };
    return this.key.signed(this.name, keys);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function request(url, options, text) {
  return new Promise((resolve, reject) => {
    const sent = https.request(url, options, async (response) => {
      const body = await textOf(response);
      const headers = new Map(Object.entries(response.headers));
      resolve({ status: response.statusCode, headers, body: body ? JSON.parse(body) : undefined });
    });
    sent.on("error", reject).end(text);
  });
}

async function textOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
