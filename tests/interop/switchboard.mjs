// Introduces raw pages, which it serves, two of one path at a time: passes on what one says on its WebSocket to the other.
import { readFileSync } from "node:fs";
import http from "node:http";
import { WebSocketServer } from "ws";

const SCRIPTS = new Set(["/raw-page.js", "/raw.js", "/measured.js"]);

export class Switchboard {
  #http = http.createServer(serve);
  #sockets = new WebSocketServer({ server: this.#http, perMessageDeflate: false });

  async start() {
    const paths = new Map();
    this.#sockets.on("connection", (socket, { url }) => {
      paths.set(socket, url);
      socket.on("close", () => paths.delete(socket));
      socket.on("message", (data, isBinary) => {
        for (const [other, path] of paths) if (other !== socket && path === url) other.send(data, { binary: isBinary });
      });
    });
    await new Promise((resolve) => this.#http.listen(0, "127.0.0.1", resolve));
    this.page = `http://127.0.0.1:${this.#http.address().port}/`;
  }

  async stop() {
    for (const socket of this.#sockets.clients) socket.terminate();
    await new Promise((resolve) => this.#http.close(resolve));
  }
}

function serve({ url }, response) {
  if (!SCRIPTS.has(url)) return response.setHeader("content-type", "text/html").end('<!doctype html><script type="module" src="/raw-page.js"></script>');
  response.setHeader("content-type", "text/javascript").end(readFileSync(new URL(`.${url}`, import.meta.url)));
}
