// A WebSocket that sends everything back, and an empty page to use it from: the raw limit of whatever goes by the relay.
import http from "node:http";
import { WebSocketServer } from "ws";

export class EchoServer {
  #http = http.createServer((_request, response) => response.setHeader("content-type", "text/html").end("<!doctype html>"));
  #sockets = new WebSocketServer({ server: this.#http, perMessageDeflate: false });

  async start() {
    this.#sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
    await new Promise((resolve) => this.#http.listen(0, "127.0.0.1", resolve));
    const { port } = this.#http.address();
    this.page = `http://127.0.0.1:${port}/`;
    this.socket = `ws://127.0.0.1:${port}/`;
  }

  async stop() {
    for (const socket of this.#sockets.clients) socket.terminate();
    await new Promise((resolve) => this.#http.close(resolve));
  }
}
