// A Matrix client on one kept-alive connection: as little between the clock and the server as JavaScript allows.
import net from "node:net";

export class Client {
  #socket;
  #received = Buffer.alloc(0);
  #waiting;
  #token;

  /** Connects to `http://address:port`. */
  static async connect(url, token) {
    const { hostname, port } = new URL(url);
    const socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return new Client(socket, token);
  }

  constructor(socket, token) {
    this.#socket = socket;
    this.#token = token;
    socket.on("data", (bytes) => {
      this.#received = this.#received.length ? Buffer.concat([this.#received, bytes]) : bytes;
      this.#deliver();
    });
    socket.on("close", () => this.#waiting?.reject(new Error("the connection ended")));
    socket.on("error", (error) => this.#waiting?.reject(error));
  }

  /** One request at a time; resolves to the answer's JSON and throws for anything but 200. */
  async request(method, path, body) {
    const text = body === undefined ? "" : JSON.stringify(body);
    const authorization = this.#token ? `authorization: Bearer ${this.#token}\r\n` : "";
    const head = `${method} ${path} HTTP/1.1\r\nhost: localhost\r\n${authorization}content-length: ${Buffer.byteLength(text)}\r\n\r\n`;
    const answer = new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
    this.#socket.write(head + text);
    const { status, content } = await answer;
    if (status !== 200) throw new Error(`${method} ${path}: ${status} ${content}`);
    return JSON.parse(content);
  }

  close() {
    this.#socket.destroy();
  }

  #deliver() {
    const end = this.#received.indexOf("\r\n\r\n");
    if (end < 0) return;
    const head = this.#received.toString("latin1", 0, end);
    const body = bodyOf(head, this.#received, end + 4);
    if (!body) return;
    this.#received = this.#received.subarray(body.end);
    const { resolve } = this.#waiting;
    this.#waiting = undefined;
    resolve({ status: Number(head.split(" ", 2)[1]), content: body.content });
  }
}

/** The text of the body that begins at `from`, and where it ends; undefined until all of it is there. */
function bodyOf(head, bytes, from) {
  if (/^transfer-encoding: chunked/im.test(head)) return chunkedBodyOf(bytes, from);
  const end = from + Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
  return bytes.length < end ? undefined : { content: bytes.toString("utf8", from, end), end };
}

function chunkedBodyOf(bytes, from) {
  const chunks = [];
  for (;;) {
    const line = bytes.indexOf("\r\n", from);
    if (line < 0) return undefined;
    const length = parseInt(bytes.toString("latin1", from, line), 16);
    const end = line + 2 + length;
    if (bytes.length < end + 2) return undefined;
    if (length === 0) return { content: Buffer.concat(chunks).toString("utf8"), end: end + 2 };
    chunks.push(bytes.subarray(line + 2, end));
    from = end + 2;
  }
}
