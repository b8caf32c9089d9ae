// Stands in for DNS: a proxy (CONNECT) that leads every name below a zone, whatever its port, to one port of this machine.
import http from "node:http";
import net from "node:net";
import { tie } from "./cable.mjs";

/** Starts it; resolves with its URL and the way to end it. `port()` says where the zone is by then. */
export async function startProxy(zone, port) {
  const server = http.createServer((_, response) => response.writeHead(405).end());
  const sockets = new Set();
  server.on("connect", ({ url }, near, head) => {
    const [, host, wanted] = /^(.*):(\d+)$/.exec(url) ?? [];
    const far = net.connect({ host: "127.0.0.1", port: host?.endsWith(`.${zone}`) ? port() : Number(wanted) });
    tie(near, far, sockets);
    far.once("connect", () => {
      near.write("HTTP/1.1 200 Connected\r\n\r\n");
      far.write(head);
      far.pipe(near).pipe(far);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const end = () => {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, end };
}
