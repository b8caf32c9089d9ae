// A Matrix client on one kept-alive connection: as little between the clock and the server as JavaScript allows.
import net from "node:net";
import { Answer } from "./answer.mjs";

export class Client {
  #url;
  #token;
  #socket;
  #waiting;

  /** Connects to `http://address:port`. */
  static async connect(url, token) {
    const client = new Client(url, token);
    await client.#open();
    return client;
  }

  constructor(url, token) {
    this.#url = new URL(url);
    this.#token = token;
  }

  async #open() {
    const { hostname, port } = this.#url;
    const socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    socket.on("data", (bytes) => this.#received(bytes));
    socket.on("close", () => this.#waiting?.reject(new Error("the connection ended")));
    socket.on("error", (error) => this.#waiting?.reject(error));
    this.#socket = socket;
  }

  /** One request at a time; resolves to the answer's JSON and throws for anything but 200. */
  async request(method, path, body) {
    return JSON.parse((await this.bytes(method, path, body)).toString());
  }

  /** As `request`, but resolves to the bytes of the answer: what a client makes of them is no matter of the server's. */
  async bytes(method, path, body) {
    // Servers end a connection on which nothing came for a while.
    if (this.#socket.destroyed) await this.#open();
    const text = body === undefined ? "" : JSON.stringify(body);
    const authorization = this.#token ? `authorization: Bearer ${this.#token}\r\n` : "";
    const head = `${method} ${path} HTTP/1.1\r\nhost: localhost\r\n${authorization}content-length: ${Buffer.byteLength(text)}\r\n\r\n`;
    const answered = new Promise((resolve, reject) => (this.#waiting = { resolve, reject, answer: new Answer() }));
    this.#socket.write(head + text);
    const answer = await answered;
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${answer.content()}`);
    return answer.content();
  }

  close() {
    this.#socket.destroy();
  }

  #received(bytes) {
    const { resolve, answer } = this.#waiting;
    answer.take(bytes);
    if (!answer.whole) return;
    this.#waiting = undefined;
    resolve(answer);
  }
}
