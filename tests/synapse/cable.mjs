// The wire before a homeserver: everything for it goes through, until the test cuts it.
import net from "node:net";

/** Forwards from a free port to `port`, both of this machine; resolves with `{ port, cut, mend, end }`. */
export async function layCable(port) {
  const sockets = new Set();
  let whole = true;
  const server = net.createServer((near) => {
    if (!whole) return near.destroy();
    const far = net.connect({ host: "127.0.0.1", port, noDelay: true });
    near.setNoDelay(true);
    tie(near, far, sockets);
    near.pipe(far).pipe(near);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const drop = () => sockets.forEach((socket) => socket.destroy());
  return {
    port: server.address().port,
    /** Ends every connection and takes no further one. */
    cut: () => {
      whole = false;
      drop();
    },
    mend: () => (whole = true),
    end: () => {
      drop();
      server.close();
    },
  };
}

/** Has either end with the other; both are among `sockets` until they do. */
export function tie(near, far, sockets) {
  for (const [socket, other] of [[near, far], [far, near]]) {
    sockets.add(socket);
    socket.on("error", () => other.destroy());
    socket.on("close", () => {
      sockets.delete(socket);
      other.destroy();
    });
  }
}

/** A port of this machine that nobody listens on right now. */
export function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
